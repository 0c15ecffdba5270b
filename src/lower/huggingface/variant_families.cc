#include "lower/huggingface/families.h"

namespace memplan::hf {

std::span<const Family> variant_families() { return {}; }

}  // namespace memplan::hf
