#include "lower/huggingface/families.h"

#include <algorithm>
#include <string>

#include "lower/litgpt/litgpt.h"
#include "lower/torchtitan/torchtitan.h"
#include "lower/torchtune/torchtune.h"
#include "memplan/error.h"

namespace memplan::hf {

const Family& family(const ModelSpec& model) {
  if (model.implementation == Implementation::litgpt) return litgpt::family(model);
  if (model.implementation == Implementation::torchtune) return torchtune::family(model);
  if (model.implementation == Implementation::torchtitan) return torchtitan::family(model);
  for (const auto& families : {llama_families(), variant_families(), classic_families(),
                               moe_families(), encoder_families()}) {
    const auto found = std::find_if(families.begin(), families.end(),
                                    [&](const Family& row) { return row.name == model.family; });
    if (found != families.end()) return *found;
  }
  throw Error(ErrorKind::not_modelled, "--framework",
              "what PyTorch keeps of the forward of '" + model.family + "' is not modelled yet",
              "use --framework textbook");
}

}  // namespace memplan::hf
