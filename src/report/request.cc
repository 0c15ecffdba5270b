#include "report/request.h"

#include <fmt/format.h>

#include <cmath>

#include "policy/fsdp.h"
#include "policy/pytorch.h"

namespace memplan {
namespace {

std::string name(auto value) { return std::string(to_string(value)); }

// Whole bytes a second: --network reads no more.
SettingValue rate(double bytes_per_second) {
  if (bytes_per_second <= 0) return {};
  return static_cast<int64_t>(std::llround(bytes_per_second));
}

}  // namespace

std::vector<Setting> settings_of(const Job& job) {
  const Strategy& s = job.strategy;
  const Cluster& c = job.cluster;
  const bool known_gpu = c.gpu.name != "custom";
  std::vector<Setting> out = {
      {"gpu", known_gpu ? SettingValue(c.gpu.name) : SettingValue()},
      {"gpu_memory", c.gpu.memory.count()},
      {"gpus", c.gpus},
      {"gpus_per_node", c.gpus_per_node},
      {"network", rate(c.network_bandwidth)},
      {"host_memory", c.host_memory ? SettingValue(c.host_memory->count()) : SettingValue()},
      {"framework", name(s.framework)},
      {"forward_only", !s.training},
      {"dp", s.dp},
      {"tp", s.tp},
      {"pp", s.pp},
      {"vpp", s.vpp},
      {"cp", s.cp},
      {"ep", s.ep},
      {"expert_imbalance", s.expert_imbalance},
      {"zero", int64_t{s.zero}},
      {"data_parallel", name(s.data_parallel)},
      {"sequence_parallel", s.sequence_parallel},
      {"schedule", name(s.schedule)},
      {"micro_batch", s.micro_batch},
      {"global_batch", s.global_batch},
      {"seq", s.sequence},
      {"precision", s.precision.name},
      {"weight_dtype", name(s.precision.weight)},
      {"grad_dtype", name(s.precision.gradient)},
      {"optimizer_dtype", name(s.precision.optimizer)},
      {"optimizer", name(s.optimizer)},
      {"activations", name(s.activations)},
      {"attention", name(s.attention)},
      {"recompute", name(s.recompute)},
      {"offload", offload_text(s.offload)},
      {"train", train_text(s.trainable)},
      {"algorithm", std::string(s.tree_collectives ? "tree" : "ring")},
  };
  if (s.framework == Framework::megatron) {
    out.push_back({"megatron_version", version_text(s.megatron.core)});
    out.push_back({"te_version", version_text(s.megatron.transformer_engine)});
  }
  if (!pytorch::is_eager(s.framework)) return out;
  const std::vector<Setting> eager = {
      {"optimizer_impl", name(s.optimizer_impl)},
      {"optimizer_in_backward", s.optimizer_in_backward},
      {"galore_rank", s.galore_rank},
      {"clip", s.clip_gradients},
      {"padding_mask", s.padding_mask},
      {"loss", name(s.loss)},
      {"loss_chunks", s.loss_chunks},
      {"kernels", name(s.kernels)},
      {"keep_outputs", s.keep_outputs},
      {"quantization", quantization_text(s.quantization)},
      {"compute_dtype",
       s.quantization.compute ? SettingValue(name(*s.quantization.compute)) : SettingValue()},
      {"prepare_kbit", s.quantization.prepared},
      {"packed", s.packed},
      {"offload_activations", s.offload_activations},
      {"compile", s.compile},
      {"bucket_view", s.gradient_as_bucket_view},
      {"bucket_size", s.bucket_bytes},
      {"torch_version", version_text(s.torch)},
      {"transformers_version", version_text(s.transformers)},
  };
  out.insert(out.end(), eager.begin(), eager.end());
  if (s.framework == Framework::torchtitan) {
    out.push_back({"torchtitan_version", version_text(s.torchtitan)});
    out.push_back({"recompute_every", s.recompute_every});
  }
  if (s.framework == Framework::deepspeed) {
    out.push_back({"reduce_bucket_size", s.deepspeed.reduce_bucket_size});
    out.push_back({"overlap_comm", s.deepspeed.overlap_comm.value_or(false)});
    out.push_back({"contiguous_gradients", s.deepspeed.contiguous_gradients});
    out.push_back({"round_robin_gradients", s.deepspeed.round_robin_gradients});
    out.push_back({"own_optimizer", s.deepspeed.own_optimizer});
    out.push_back({"sub_group_size", s.deepspeed.sub_group_size});
    out.push_back({"prefetch_bucket_size", s.deepspeed.prefetch_bucket_size});
    out.push_back({"param_persistence_threshold", s.deepspeed.param_persistence_threshold});
    out.push_back({"model_persistence_threshold", s.deepspeed.model_persistence_threshold});
    out.push_back({"max_live_parameters", s.deepspeed.max_live_parameters});
    out.push_back({"max_reuse_distance", s.deepspeed.max_reuse_distance});
    out.push_back({"gather_16bit_weights", s.deepspeed.gather_16bit_weights_on_model_save});
  }
  if (!fsdp::shards_parameters(s)) return out;
  const auto dtype = [](const std::optional<DType>& given) {
    return given ? SettingValue(name(*given)) : SettingValue();
  };
  const std::vector<Setting> sharded = {
      {"param_dtype", dtype(s.fsdp.param_dtype)},
      {"reduce_dtype", dtype(s.fsdp.reduce_dtype)},
      {"dp_replicate", s.fsdp.replicas},
      {"gradient_sync", std::string(s.fsdp.reduces_each ? "each" : "last")},
  };
  out.insert(out.end(), sharded.begin(), sharded.end());
  if (fsdp::cuts_each(s)) {
    out.push_back({"reshard_after_forward", reshard_text(s.fsdp)});
    out.push_back({"quant_storage", dtype(s.quantization.storage)});
    return out;
  }
  constexpr const char* kSharding[] = {"full-shard", "shard-grad-op", "no-shard"};
  constexpr const char* kPrefetch[] = {"pre", "post", "none"};
  out.push_back(
      {"sharding_strategy", std::string(kSharding[static_cast<size_t>(s.fsdp.sharding)])});
  out.push_back(
      {"backward_prefetch", std::string(kPrefetch[static_cast<size_t>(s.fsdp.backward_prefetch)])});
  out.push_back({"forward_prefetch", s.fsdp.forward_prefetch});
  out.push_back({"use_orig_params", s.fsdp.use_orig_params});
  constexpr const char* kWrap[] = {"layers", "none", "size"};
  out.push_back({"wrap_policy", std::string(kWrap[static_cast<size_t>(s.fsdp.wrap)])});
  return out;
}

std::string setting_text(const SettingValue& value) {
  struct Visitor {
    std::string operator()(std::monostate) const { return "-"; }
    std::string operator()(bool b) const { return b ? "true" : "false"; }
    std::string operator()(int64_t n) const { return fmt::format("{}", n); }
    std::string operator()(double n) const { return fmt::format("{}", n); }
    std::string operator()(const std::string& text) const { return text; }
  };
  return std::visit(Visitor(), value);
}

std::string quantization_text(const Quantization& quantization) {
  return std::string(to_string(quantization.kind)) + (quantization.double_quant ? "-dq" : "");
}

std::string reshard_text(const Fsdp& fsdp) {
  if (!fsdp.after_forward) return fsdp.root_after_forward ? "auto" : "true";
  return *fsdp.after_forward == 1 ? "false" : fmt::format("{}", *fsdp.after_forward);
}

std::string version_text(const Version& version) {
  return fmt::format("{}.{}.{}", version.major, version.minor, version.patch);
}

std::string offload_text(const Offload& offload) {
  std::string out;
  const auto part = [&](std::string_view what, Placement where) {
    if (where == Placement::gpu) return;
    out += fmt::format("{}{}={}", out.empty() ? "" : ",", what, to_string(where));
  };
  part("optimizer", offload.optimizer);
  part("gradients", offload.gradients);
  part("parameters", offload.parameters);
  return out.empty() ? "none" : out;
}

std::string train_text(const Trainable& trainable) {
  switch (trainable.kind) {
    case Trainable::Kind::all:
      return "all";
    case Trainable::Kind::last_layers:
      return fmt::format("last:{}", trainable.layers);
    case Trainable::Kind::bias:
      return "bias";
  }
  return "?";
}

std::string peft_text(const PeftSpec& peft) {
  if (peft.kind == PeftKind::none) return "none";
  const PeftMethodRow& method = peft_method(peft.kind);
  if (!method.rank_key.empty())
    return fmt::format("{} r {}{}", to_string(peft.kind), peft.rank, peft.merged ? ", merged" : "");
  if (method.targets || !method.type.empty() || peft.number(PeftNumber::tokens) > 0)
    return std::string(to_string(peft.kind));
  return fmt::format("{} m {}", to_string(peft.kind), peft.bottleneck);
}

}  // namespace memplan
