#include "lower/huggingface/families.h"

namespace memplan::hf {

std::span<const Family> moe_families() { return {}; }

}  // namespace memplan::hf
