#include <string>

#include "lower/torchtitan/torchtitan.h"
#include "memplan/error.h"
#include "policy/fsdp.h"

namespace memplan::torchtitan {
namespace {

void refuse(const std::string& where, const std::string& problem, const std::string& hint) {
  throw Error(ErrorKind::not_modelled, where, problem, hint);
}

// models/llama3/model: what its modules have no argument for.
void require_architecture(const ModelSpec& m) {
  const auto lacks = [](const std::string& what) {
    refuse("--framework torchtitan", "torchtitan's Llama 3 has no " + what,
           "use --framework fsdp2");
  };
  if (checked_mul(m.heads, m.head_dim) != m.hidden) lacks("width of heads of its own");
  if (m.attention_bias || m.attention_out_bias || m.mlp_bias || m.head_bias) lacks("biases");
  if (m.tie_embeddings) lacks("tied embeddings");
  if (m.activation != "silu") lacks("activation " + m.activation);
}

}  // namespace

void require_modelled(const Job& job) {
  const Strategy& s = job.strategy;
  require_architecture(job.model);
  const bool known = s.torchtitan == Version{0, 0, 1} || s.torchtitan == Version{0, 0, 2} ||
                     !(s.torchtitan < Version{0, 2, 2});
  if (!known)
    refuse("--torchtitan-version", "torchtitan before 0.2.2 is not modelled, but for 0.0.2 of 2024",
           "use 0.2.2");
  if (release_of(s) != Release::february_2026 && s.micro_batches() > 1)
    throw Error(ErrorKind::bad_input, "--global-batch",
                "torchtitan of 2024 accumulates no gradients", "use micro-batch · dp");
  if (fsdp::shards(s) == 1)
    refuse("--dp", "torchtitan without fully_shard (autocast, or DDP) is not modelled",
           "use more GPUs, or a smaller --dp-replicate");
  if (s.peft.kind != PeftKind::none || s.trainable.kind != Trainable::Kind::all)
    refuse(s.peft.kind != PeftKind::none ? "--peft" : "--train",
           "torchtitan's trainer trains all parameters", "use --framework fsdp2");
  if (s.quantization.kind != QuantKind::none)
    refuse("--quantization", "torchtitan trains no bitsandbytes weights", "leave it away");
  if (s.precision.autocast)
    refuse("--precision " + s.precision.name, "fully_shard casts, nothing runs under autocast",
           "use mixed-bf16, bf16 or fp32");
  if (s.attention != AttentionKind::sdpa)
    refuse("--attention", "flex and varlen attention are not modelled", "use --attention sdpa");
  if (s.padding_mask) refuse("--padding-mask", "torchtitan masks no padding", "leave it away");
  if (s.kernels != KernelKind::eager)
    refuse("--kernels", "torchtitan's modules run PyTorch's operators", "leave it away");
  if (s.optimizer != OptimizerKind::adamw && s.optimizer != OptimizerKind::adam)
    refuse("--optimizer " + std::string(to_string(s.optimizer)),
           "torchtitan's build_optimizers knows Adam and AdamW", "use adamw");
  if (s.recompute_every > 1 && s.recompute != Recompute::full)
    throw Error(ErrorKind::bad_input, "--recompute-every", "no layer is checkpointed",
                "add --recompute full");
}

Release release_of(const Strategy& s) {
  if (!(s.torchtitan < Version{0, 2, 2})) return Release::february_2026;
  return s.torchtitan < Version{0, 0, 2} ? Release::march_2024 : Release::december_2024;
}

std::optional<aten::Checkpointing> checkpointing(const Strategy& s, int64_t layer) {
  if (s.recompute == Recompute::none) return {};
  // config/job_config.py: early_stop; in 2024, torch's own default
  aten::Checkpointing out{.stops_early = release_of(s) != Release::february_2026};
  if (s.recompute == Recompute::full) {
    // _apply_layer_sac counts from 1
    if ((layer + 1) % s.recompute_every != 0) return {};
    return out;
  }
  // _op_sac_save_list, of matrix products every second one: what is left of it in this model.
  // cuDNN's attention joined it in 2025.
  const bool cudnn = release_of(s) == Release::february_2026;
  out.saves = [cudnn, products = int64_t{0}](std::string_view op) mutable {
    if (op == "aten.mm.default") return ++products % 2 == 1;
    return op == "aten._scaled_dot_product_efficient_attention.default" ||
           op == "aten._scaled_dot_product_flash_attention.default" ||
           (cudnn && op == "aten._scaled_dot_product_cudnn_attention.default");
  };
  return out;
}

}  // namespace memplan::torchtitan
