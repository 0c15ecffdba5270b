#include "lower/huggingface/families.h"

namespace memplan::hf {

std::span<const Family> classic_families() { return {}; }

}  // namespace memplan::hf
