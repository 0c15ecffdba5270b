#include <algorithm>
#include <array>
#include <string>

#include "lower/huggingface/module.h"
#include "memplan/error.h"

namespace memplan::hf {
namespace {

constexpr Family llama_like(std::string_view name) {
  return {name, decoder_layer, decoder_embed, decoder_finish, causal_lm_loss, rotary_buffers};
}

constexpr std::array kFamilies = {llama_like("llama"), llama_like("mistral"), llama_like("qwen2"),
                                  llama_like("qwen3")};

}  // namespace

const Family& family(const ModelSpec& model) {
  const auto found = std::find_if(kFamilies.begin(), kFamilies.end(),
                                  [&](const Family& row) { return row.name == model.family; });
  if (found == kFamilies.end())
    throw Error(ErrorKind::not_modelled, "--framework",
                "what PyTorch keeps of the forward of '" + model.family + "' is not modelled yet",
                "use --framework textbook");
  return *found;
}

}  // namespace memplan::hf
