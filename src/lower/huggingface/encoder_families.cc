#include "lower/huggingface/families.h"

namespace memplan::hf {

std::span<const Family> encoder_families() { return {}; }

}  // namespace memplan::hf
