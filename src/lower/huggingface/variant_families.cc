#include "lower/huggingface/families.h"
#include "lower/huggingface/variants.h"

namespace memplan::hf {

std::span<const Family> variant_families() {
  static const Family families[] = {gemma(),      gemma2(),   gemma3(),  phi3(),  olmo2(),
                                    starcoder2(), stablelm(), granite(), cohere()};
  return families;
}

}  // namespace memplan::hf
