#include <string>

#include "lower/litgpt/litgpt.h"
#include "memplan/error.h"
#include "ops/optimizer.h"

namespace memplan::litgpt {

void require_modelled(const Job& job) {
  const Strategy& s = job.strategy;
  const auto refuse = [](const std::string& where, const std::string& problem,
                         const std::string& hint) {
    throw Error(ErrorKind::not_modelled, where, problem, hint);
  };
  switch (s.peft.kind) {
    case PeftKind::none:
    case PeftKind::litgpt_lora:
    case PeftKind::litgpt_adapter:
    case PeftKind::litgpt_adapter_v2:
      break;
    default:
      refuse("--peft", "litgpt has no " + std::string(to_string(s.peft.kind)),
             "use --peft litgpt-lora, litgpt-adapter or litgpt-adapter-v2");
  }
  if (s.compile || s.optimizer_in_backward || updates_in_backward(s.optimizer))
    refuse(s.compile ? "--compile" : "--optimizer",
           "litgpt's scripts neither compile nor update inside backward", "leave it away");
  if (s.dp > 1)
    refuse("--dp", "litgpt shards over several GPUs: what that takes is not modelled",
           "use one GPU");
  if (s.recompute != Recompute::none)
    refuse("--recompute", "litgpt's scripts checkpoint nothing on one GPU", "leave it away");
  if (s.precision.autocast)
    refuse("--precision " + s.precision.name, "litgpt under autocast is not modelled",
           "use bf16, fp16 or fp32, its bf16-true, 16-true and 32-true");
  if (s.quantization.kind != QuantKind::none)
    refuse("--quantization", "litgpt's layers of bitsandbytes 0.41 are not modelled",
           "leave it away");
  if (s.attention != AttentionKind::sdpa)
    refuse("--attention", "litgpt calls scaled_dot_product_attention", "use --attention sdpa");
  if (s.padding_mask)
    refuse("--padding-mask", "litgpt masks no padding in attention", "leave it away");
}

bool is_later(const hf::Forward& f) {
  const PeftKind kind = f.job.strategy.peft.kind;
  return kind == PeftKind::litgpt_adapter || kind == PeftKind::litgpt_adapter_v2;
}

}  // namespace memplan::litgpt
