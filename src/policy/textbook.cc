#include "policy/textbook.h"

#include <algorithm>

#include "memplan/error.h"
#include "ops/optimizer.h"
#include "policy/routing.h"

namespace memplan::textbook {

StatePolicy states(const Strategy& s) {
  StatePolicy policy;
  policy.shard_optimizer = s.zero >= 1;
  policy.shard_gradients = s.zero >= 2;
  policy.shard_weights = s.zero >= 3;
  policy.transient_gradients = s.zero >= 2 || s.offload.gradients != Placement::gpu;
  policy.transient_weights = s.zero >= 3 || s.offload.parameters != Placement::gpu;
  return policy;
}

void apply_activation_model(const Strategy& strategy, int64_t width, Graph& layer) {
  if (strategy.activations != ActivationModel::zero || !strategy.training) return;
  bool differentiated = false;
  for (Tensor& tensor : layer.tensors) {
    differentiated |= tensor.saved;
    tensor.saved = tensor.recomputable = false;
  }
  for (Op& op : layer.ops) op.saved.clear();
  if (!differentiated) return;
  layer.add({.kind = "layer", .name = "layer (ZeRO estimate)"}, "layer output", 0,
            layer.context.activation, true);
  layer.save_extra("12·b·s·h elements", product({12, layer.tokens(), width}),
                   layer.context.activation);
}

void require_modelled(const Job& job) {
  const Strategy& s = job.strategy;
  const auto refuse = [](const char* where, const std::string& problem, const char* hint) {
    throw Error(ErrorKind::not_modelled, where, problem, hint);
  };
  if (s.framework != Framework::textbook)
    refuse("--framework",
           "framework '" + std::string(to_string(s.framework)) + "' is not modelled yet",
           "use --framework textbook");
  if (s.training && updates_in_backward(s))
    refuse("--optimizer",
           "gradients that are spent inside backward are counted tensor by tensor alone",
           "use --framework pytorch, or another optimizer, such as adamw or sgd");
  const bool bottleneck = peft_method(s.peft.kind).type.empty() &&
                          !peft_method(s.peft.kind).targets &&
                          s.peft.kind != PeftKind::litgpt_adapter &&
                          s.peft.kind != PeftKind::litgpt_adapter_v2;  // or no method
  if (!bottleneck && s.peft.kind != PeftKind::lora)
    refuse("--peft",
           "what " + std::string(to_string(s.peft.kind)) +
               " keeps for backward is not modelled; its parameters are",
           "LoRA's is");
  if (s.peft.kind == PeftKind::lora &&
      (s.peft.number(PeftNumber::dora) != 0 || s.peft.block_diagonal.blocks > 0))
    refuse("--peft", "what this variant of LoRA keeps for backward is not modelled",
           "leave use_dora and use_bdlora out");
  if (s.activations == ActivationModel::zero && s.training) {
    if (s.tp > 1 || s.cp > 1)
      refuse("--activations zero", "the ZeRO paper's estimate does not say how tp or cp divide it",
             "use --activations korthikanti");
    if (s.recompute == Recompute::selective)
      refuse("--recompute selective", "the ZeRO paper's estimate has no attention core to drop",
             "use --activations korthikanti, or --recompute full");
  }
  if (job.model.decoder_layers > 0 && s.pp > 1)
    refuse("--pp", "pipeline parallelism of an encoder-decoder is not modelled", "use --pp 1");
}

std::vector<std::string> not_modelled(const Job& job) {
  const Strategy& s = job.strategy;
  std::vector<std::string> out = job.model.not_modelled;
  if (job.model.bare_parameters) {
    out.push_back(
        "activations, communication within the model and FLOPs: only the number of "
        "parameters is known");
  }
  const std::vector<bool>& sliding = job.model.layer_is_sliding;
  if (std::find(sliding.begin(), sliding.end(), true) != sliding.end())
    out.push_back("sliding windows: attention is taken over the whole sequence");
  out.push_back("temporary buffers inside operators and the optimizer step");
  out.push_back("the caching allocator's rounding and fragmentation");
  out.push_back("step time");
  if (s.training && size_of(s.precision.activation) < size_of(s.precision.weight))
    out.push_back("autocast's 16-bit copies of the weights");
  if (!job.cluster.gpu.cuda)
    out.push_back("context, allocator and collective-library memory of " +
                  job.cluster.gpu.description + ": only CUDA GPUs and NCCL are known");
  return out;
}

std::vector<std::string> assumptions(const Job& job) {
  const Strategy& s = job.strategy;
  std::vector<std::string> out;
  if (s.training && !job.model.bare_parameters) {
    out.push_back(s.activations == ActivationModel::zero
                      ? "activations by the ZeRO paper's estimate: 12·b·s·h elements a layer"
                      : "activations by Korthikanti et al.: what each operator keeps for backward");
    if (s.activations == ActivationModel::korthikanti && s.attention == AttentionKind::unfused)
      out.push_back(
          "attention is unfused, as in the paper: its scores cost s² (--attention flash "
          "keeps none)");
  }
  if (job.model.moe.experts > 0 && !job.model.bare_parameters) out.push_back(routing_text(s));
  if (job.model.decoder_layers > 0 && !job.model.bare_parameters)
    out.push_back("encoder and decoder sequences are equally long");
  return out;
}

}  // namespace memplan::textbook
