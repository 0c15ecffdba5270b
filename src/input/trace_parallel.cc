#include "input/trace_parallel.h"

#include <string>
#include <string_view>
#include <vector>

#include "input/case_fields.h"
#include "memplan/error.h"

namespace memplan {
namespace {

// reshard_after_forward: null is fully_shard's None, of which it makes `automatic`.
std::optional<int64_t> read_reshard(const JsonNode& node, std::optional<int64_t> automatic,
                                    int64_t world) {
  if (node.is_null()) return automatic;
  if (node.is_boolean()) return node.boolean() ? std::nullopt : std::optional<int64_t>(1);
  const int64_t gpus = node.count();
  return gpus == world ? std::nullopt : std::optional(gpus);
}

void read_fsdp_dtypes(const JsonNode& node, Fsdp& fsdp) {
  // The tracer's own defaults.
  fsdp.param_dtype = DType::bf16;
  fsdp.reduce_dtype = DType::f32;
  const auto dtype = [&](const char* key, std::optional<DType>& to) {
    if (const auto given = node.find(key)) to = parse_dtype(given->text(), given->where());
  };
  dtype("param_dtype", fsdp.param_dtype);
  dtype("reduce_dtype", fsdp.reduce_dtype);
}

void read_fsdp_world(const JsonNode& node, TraceDraft& draft) {
  Strategy& s = draft.job.strategy;
  s.dp = node.at("world").count();
  if (const auto copies = node.find("replicate")) s.fsdp.replicas = copies->count(1, s.dp);
  if (const auto rank = node.find("rank")) draft.job.data_rank = rank->count(0, s.dp - 1);
}

// trace_torchtitan.py
void read_torchtitan(const JsonNode& node, TraceDraft& draft) {
  refuse_unknown_keys(node, {"kind", "world", "rank", "replicate", "param_dtype", "reduce_dtype",
                             "reshard_after_forward"});
  read_fsdp_world(node, draft);
  Fsdp& fsdp = draft.job.strategy.fsdp;
  read_fsdp_dtypes(node, fsdp);
  // apply_fsdp of 2024: reshard_after_forward=True of the model, which torch since 2.8 obeys.
  if (draft.job.strategy.torchtitan < Version{0, 2, 0}) return;
  fsdp.root_after_forward = 1;
  if (const auto reshard = node.find("reshard_after_forward")) {
    const std::string policy = reshard->one_of({"default", "always", "never"});
    if (policy == "always") fsdp.root_after_forward = std::nullopt;
    if (policy == "never") fsdp.after_forward = 1;
  }
}

void read_fsdp2(const JsonNode& node, TraceDraft& draft) {
  refuse_unknown_keys(node, {"kind", "world", "rank", "replicate", "param_dtype", "reduce_dtype",
                             "sync", "reshard_after_forward", "root_reshard_after_forward"});
  Strategy& s = draft.job.strategy;
  s.framework = Framework::fsdp2;
  read_fsdp_world(node, draft);
  const int64_t shards = s.dp / s.fsdp.replicas;
  read_fsdp_dtypes(node, s.fsdp);
  std::optional<JsonNode> root = node.find("reshard_after_forward");
  if (root) {
    s.fsdp.after_forward = read_reshard(*root, std::nullopt, shards);
    s.fsdp.root_after_forward = s.fsdp.after_forward;
  }
  if (const auto own = node.find("root_reshard_after_forward")) root = own;
  if (root) s.fsdp.root_after_forward = read_reshard(*root, 1, shards);
  if (const auto sync = node.find("sync"))
    s.fsdp.reduces_each = sync->one_of({"each", "last"}) == "each";
}

void read_fsdp1(const JsonNode& node, TraceDraft& draft) {
  refuse_unknown_keys(
      node, {"kind", "world", "rank", "replicate", "param_dtype", "reduce_dtype", "sync",
             "strategy", "use_orig_params", "forward_prefetch", "backward_prefetch", "wrap"});
  Strategy& s = draft.job.strategy;
  Fsdp& fsdp = s.fsdp;
  s.framework = Framework::fsdp1;
  s.dp = node.at("world").count();
  if (const auto copies = node.find("replicate")) fsdp.replicas = copies->count(1, s.dp);
  if (const auto rank = node.find("rank")) draft.job.data_rank = rank->count(0, s.dp - 1);
  // The tracer's own defaults.
  fsdp.param_dtype = DType::bf16;
  fsdp.reduce_dtype = DType::f32;
  if (const auto own = node.find("param_dtype"); own && own->is_null())
    fsdp.param_dtype = fsdp.reduce_dtype = std::nullopt;
  else if (own)
    fsdp.param_dtype = parse_dtype(own->text(), own->where());
  if (const auto own = node.find("reduce_dtype"))
    fsdp.reduce_dtype = parse_dtype(own->text(), own->where());
  if (const auto strategy = node.find("strategy")) {
    const std::string name = strategy->one_of(
        {"FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD", "_HYBRID_SHARD_ZERO2"});
    using enum Fsdp::Sharding;
    fsdp.sharding = name == "NO_SHARD"        ? no_shard
                    : name.ends_with("SHARD") ? full_shard
                                              : shard_grad_op;
  }
  if (const auto prefetch = node.find("backward_prefetch")) {
    const std::string when = prefetch->one_of({"pre", "post", "none"});
    using enum Fsdp::Prefetch;
    fsdp.backward_prefetch = when == "pre" ? pre : when == "post" ? post : none;
  }
  if (const auto flag = node.find("forward_prefetch")) fsdp.forward_prefetch = flag->boolean();
  if (const auto flag = node.find("use_orig_params")) fsdp.use_orig_params = flag->boolean();
  if (const auto wrap = node.find("wrap"))
    fsdp.wrap =
        wrap->one_of({"layers", "none"}) == "layers" ? Fsdp::Wrap::layers : Fsdp::Wrap::none;
  if (const auto sync = node.find("sync"))
    fsdp.reduces_each = sync->one_of({"each", "last"}) == "each";
}

// trace_deepspeed.py: a ds_config.json without its batch. The 16-bit weights have fp32 masters.
void read_deepspeed(const JsonNode& node, TraceDraft& draft) {
  refuse_unknown_keys(node, {"kind", "world", "rank", "config"});
  Strategy& s = draft.job.strategy;
  s.framework = Framework::deepspeed;
  s.dp = node.at("world").count();
  if (const auto rank = node.find("rank")) draft.job.data_rank = rank->count(0, s.dp - 1);
  const JsonNode config = node.at("config");
  refuse_unknown_keys(config, {"bf16", "fp16", "data_types", "zero_optimization"});
  if (const auto types = config.find("data_types")) {
    refuse_unknown_keys(*types, {"grad_accum_dtype"});
    draft.accumulated = parse_dtype(types->at("grad_accum_dtype").text(), types->where());
  }
  const JsonNode zero = config.at("zero_optimization");
  struct Size {
    std::string_view key;
    int64_t DeepSpeed::*to;
  };
  constexpr Size kSizes[] = {
      {"reduce_bucket_size", &DeepSpeed::reduce_bucket_size},
      {"sub_group_size", &DeepSpeed::sub_group_size},
      {"stage3_prefetch_bucket_size", &DeepSpeed::prefetch_bucket_size},
      {"stage3_param_persistence_threshold", &DeepSpeed::param_persistence_threshold},
      {"stage3_model_persistence_threshold", &DeepSpeed::model_persistence_threshold},
      {"stage3_max_live_parameters", &DeepSpeed::max_live_parameters},
      {"stage3_max_reuse_distance", &DeepSpeed::max_reuse_distance}};
  std::vector<std::string_view> known{"stage", "overlap_comm", "reduce_scatter"};
  for (const Size& size : kSizes) known.push_back(size.key);
  refuse_unknown_keys(zero, known);
  s.zero = static_cast<int>(zero.at("stage").count(0, 3));
  for (const Size& size : kSizes)
    if (const auto given = zero.find(size.key)) s.deepspeed.*size.to = given->count(0);
  if (const auto overlap = zero.find("overlap_comm")) s.deepspeed.overlap_comm = overlap->boolean();
  if (const auto scatter = zero.find("reduce_scatter"))
    s.deepspeed.reduce_scatter = scatter->boolean();
}

}  // namespace

void read_trace_parallel(const JsonNode& node, TraceDraft& draft) {
  const JsonNode kind = node.at("kind");
  if (kind.text() == "deepspeed") return read_deepspeed(node, draft);
  if (kind.text() == "fsdp1") return read_fsdp1(node, draft);
  if (kind.text() == "fsdp2") return read_fsdp2(node, draft);
  if (kind.text() == "torchtitan") return read_torchtitan(node, draft);
  if (kind.text() == "tp") {
    refuse_unknown_keys(node, {"kind", "world"});
    draft.job.strategy.framework = Framework::pytorch;
    draft.job.strategy.tp = node.at("world").count();
    return;
  }
  if (kind.text() == "none") {
    refuse_unknown_keys(node, {"kind"});
    return;
  }
  if (kind.text() != "ddp")
    throw kind.error("parallel kind '" + printable(kind.text()) + "' is not modelled", "",
                     ErrorKind::not_modelled);
  refuse_unknown_keys(node, {"kind", "bucket_view", "bucket_mb"});
  Strategy& s = draft.job.strategy;
  s.data_parallel = DataParallelKind::ddp;
  s.dp = 2;  // the tracer's world is 1, and DDP's buckets do not depend on it
  if (const auto view = node.find("bucket_view")) s.gradient_as_bucket_view = view->boolean();
  constexpr int64_t kMostMiB = int64_t{1} << 40;
  if (const auto size = node.find("bucket_mb"))
    s.bucket_bytes = checked_mul(size->count(1, kMostMiB), kMiB.count());
}

}  // namespace memplan
