#include "cli/command.h"
namespace memplan { int run_show(const Words&) { return 0; } }
