// ds_config.json, by deepspeed/runtime/config.py and deepspeed/runtime/zero/config.py (0.18).
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "input/framework_files.h"
#include "input/known_keys.h"
#include "input/text_file.h"
#include "memplan/error.h"
#include "memplan/units.h"

namespace memplan {
namespace {

// What is read, and what leaves memory as it is.
constexpr auto kRead = std::to_array<std::string_view>(
    {"train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps",
     "optimizer", "fp16", "bf16", "bfloat16", "zero_optimization", "data_types",
     "tensor_parallel"});
constexpr auto kPassed =
    std::to_array<std::string_view>({"scheduler",
                                     "gradient_clipping",
                                     "steps_per_print",
                                     "wall_clock_breakdown",
                                     "prescale_gradients",
                                     "gradient_predivide_factor",
                                     "communication_data_type",
                                     "seq_parallel_communication_data_type",
                                     "activation_checkpointing",
                                     "flops_profiler",
                                     "tensorboard",
                                     "wandb",
                                     "csv_monitor",
                                     "comet",
                                     "aio",
                                     "zero_allow_untested_optimizer",
                                     "zero_force_ds_cpu_optimizer",
                                     "dump_state",
                                     "checkpoint",
                                     "nebula",
                                     "comms_logger",
                                     "memory_breakdown",
                                     "disable_allgather",
                                     "dataloader_drop_last",
                                     "use_data_before_expert_parallel_parallelism",
                                     "graph_harvesting",
                                     "timers",
                                     "load_universal_checkpoint",
                                     "use_node_local_storage",
                                     "pipeline",
                                     "eigenvalue",
                                     "monitor_config",
                                     "torch_autocast"});
// Refused where they are switched on: {key, what it is}.
struct Refused {
  std::string_view key, what;
};
constexpr auto kRefused = std::to_array<Refused>({
    {"amp", "Apex's amp"},
    {"sparse_attention", "sparse attention"},
    {"sparse_gradients", "sparse gradients"},
    {"compression_training", "compression"},
    {"progressive_layer_drop", "progressive layer drop"},
    {"curriculum_learning", "a sequence that grows"},
    {"data_efficiency", "a sequence that changes"},
    {"elasticity", "an elastic number of GPUs"},
    {"autotuning", "autotuning"},
    {"hybrid_engine", "the hybrid engine"},
    {"quantize_training", "quantized training"},
    {"compile", "compilation"},
});

constexpr auto kZeroKeys = std::to_array<std::string_view>(
    {"stage", "offload_optimizer", "offload_param", "cpu_offload", "cpu_offload_params",
     "reduce_bucket_size", "overlap_comm", "contiguous_gradients", "round_robin_gradients",
     "reduce_scatter", "use_multi_rank_bucket_allreduce"});
constexpr auto kZeroPassed = std::to_array<std::string_view>(
    {"allgather_partitions", "allgather_bucket_size", "load_from_fp32_weights",
     "elastic_checkpoint", "ignore_unused_parameters", "legacy_stage1", "memory_efficient_linear",
     "pipeline_loading_checkpoint", "override_module_apply", "log_trace_cache_warnings",
     "cpu_offload_use_pin_memory", "enable_sanity_checks", "leaf_module",
     "save_muon_momentum_buffer_in_memory"});
// Sizes of stage 3, each by its own name and by that of ZeRO's pydantic field.
struct Size {
  std::string_view key, old, option;
};
constexpr auto kSizes = std::to_array<Size>({
    {"sub_group_size", "", "--sub-group-size"},
    {"stage3_prefetch_bucket_size", "prefetch_bucket_size", "--prefetch-bucket-size"},
    {"stage3_param_persistence_threshold", "param_persistence_threshold",
     "--param-persistence-threshold"},
    {"stage3_model_persistence_threshold", "model_persistence_threshold",
     "--model-persistence-threshold"},
    {"stage3_max_live_parameters", "max_live_parameters", "--max-live-parameters"},
    {"stage3_max_reuse_distance", "max_reuse_distance", "--max-reuse-distance"},
});
constexpr auto kGathers = std::to_array<std::string_view>(
    {"stage3_gather_16bit_weights_on_model_save", "gather_16bit_weights_on_model_save",
     "stage3_gather_fp16_weights_on_model_save"});
constexpr auto kZeroRefused = std::to_array<Refused>({
    {"module_granularity_threshold", "fetching whole modules"},
    {"stage3_module_granularity_threshold", "fetching whole modules"},
    {"use_all_reduce_for_fetch_params", "gathering by all-reduces"},
    {"stage3_use_all_reduce_for_fetch_params", "gathering by all-reduces"},
    {"zero_hpz_partition_size", "hierarchical partitioning (ZeRO++)"},
    {"zero_quantized_weights", "quantized weights (ZeRO++)"},
    {"zero_quantized_nontrainable_weights", "quantized weights (ZeRO++)"},
    {"zero_quantized_gradients", "quantized gradients (ZeRO++)"},
    {"zeropp_loco_param", "LoCo (ZeRO++)"},
    {"mics_shard_size", "MiCS"},
    {"mics_hierarchical_params_gather", "MiCS"},
    {"zenflow", "ZenFlow"},
});
// Fields of offload_optimizer and offload_param (deepspeed/runtime/zero/offload_config.py, 0.19.6),
// whose models take no other name (extra="forbid" in deepspeed/runtime/config_utils.py).
constexpr auto kOffloadOptimizer = std::to_array<std::string_view>(
    {"device", "nvme_path", "buffer_count", "pin_memory", "pipeline_read", "pipeline_write",
     "fast_init", "ratio", "super_offload", "cpuadam_cores_perc"});
constexpr auto kOffloadParameters = std::to_array<std::string_view>(
    {"device", "nvme_path", "buffer_count", "buffer_size", "max_in_cpu", "pin_memory"});

std::vector<std::string_view> keys_of(std::span<const Refused> rows) {
  std::vector<std::string_view> keys;
  for (const Refused& row : rows) keys.push_back(row.key);
  return keys;
}

bool is_auto(const JsonNode& node) { return node.is_text() && node.text() == "auto"; }

// Off: null, false, "auto", an object whose "enabled" is absent or false, and what a count says
// where nothing is cut (1, or -1).
bool is_on(const JsonNode& node) {
  if (node.is_null() || node.is_false() || is_auto(node)) return false;
  if (node.is_object()) {
    const auto enabled = node.find("enabled");
    return enabled && !enabled->is_null() && !is_auto(*enabled) && enabled->boolean();
  }
  if (node.is_boolean()) return true;
  const double value = node.number();
  return value != 1 && value != -1 && value != 0;
}

void refuse(const JsonNode& object, std::span<const Refused> rows) {
  for (const Refused& row : rows)
    if (const auto node = object.find(row.key); node && is_on(*node))
      throw node->error(std::string(row.what) + " is not modelled", "switch it off",
                        ErrorKind::not_modelled);
}

class DeepSpeed {
 public:
  explicit DeepSpeed(const JsonNode& root) : root_(root) {}

  std::vector<FileSetting> read() {
    require_known_keys(root_, {kRead, kPassed, keys_of(kRefused)});
    refuse(root_, kRefused);
    batch();
    precision();
    optimizer();
    if (const auto zero = find(root_, "zero_optimization")) zero_optimization(*zero);
    if (const auto tensor = find(root_, "tensor_parallel"))
      if (const auto size = find(*tensor, "autotp_size"); size && size->count(0) > 1)
        add("--tp", std::to_string(size->count()), *size);
    return std::move(out_);
  }

 private:
  // A value that somebody decided.
  static std::optional<JsonNode> find(const JsonNode& object, std::string_view key) {
    auto node = object.require_object().find(key);
    if (node && (node->is_null() || is_auto(*node))) node.reset();
    return node;
  }
  void add(std::string option, std::string text, const JsonNode& node) {
    out_.push_back({std::move(option), std::move(text), node.where()});
  }
  void count(std::string option, std::string_view key) {
    if (const auto node = find(root_, key))
      add(std::move(option), std::to_string(node->count()), *node);
  }

  // train_batch_size = micro-batch · accumulation · GPUs: any two say the third.
  void batch() {
    count("--micro-batch", "train_micro_batch_size_per_gpu");
    const auto whole = find(root_, "train_batch_size");
    const auto steps = find(root_, "gradient_accumulation_steps");
    const auto micro = find(root_, "train_micro_batch_size_per_gpu");
    if (whole && micro &&
        whole->count() % checked_mul(micro->count(), steps ? steps->count() : 1) != 0)
      throw whole->error(
          "is no multiple of train_micro_batch_size_per_gpu · "
          "gradient_accumulation_steps",
          "change one of the three");
    if (whole)
      count("--global-batch", "train_batch_size");
    else
      count("--accumulation", "gradient_accumulation_steps");
  }

  bool enabled(std::string_view key) const {
    const auto object = root_.find(key);
    return object && !object->is_null() && is_on(object->require_object());
  }
  bool left_open(std::string_view key) const {
    const auto object = root_.find(key);
    if (!object || object->is_null()) return false;
    const auto flag = object->require_object().find("enabled");
    return flag && is_auto(*flag);
  }

  void precision() {
    const std::string_view wide = root_.find("bfloat16") ? "bfloat16" : "bf16";
    if (enabled(wide) && enabled("fp16"))
      throw root_.at("fp16").error("contradicts bf16", "enable one of the two");
    if (enabled(wide))
      add("--precision", "mixed-bf16", root_.at(wide));
    else if (enabled("fp16"))
      add("--precision", "mixed-fp16", root_.at("fp16"));
    else if (!left_open(wide) && !left_open("fp16"))
      add("--precision", "fp32", root_);
    if (const auto types = find(root_, "data_types"))
      if (const auto dtype = find(*types, "grad_accum_dtype"))
        add("--grad-dtype", dtype->one_of({"fp32", "fp16", "bf16"}), *dtype);
  }

  void optimizer() {
    const auto object = find(root_, "optimizer");
    if (!object) return;
    const auto type = find(*object, "type");
    if (!type) return;
    struct Name {
      std::string_view deepspeed, memplan;
    };
    constexpr auto kNames = std::to_array<Name>(
        {{"adam", "adam"}, {"adamw", "adamw"}, {"sgd", "sgd"}, {"lion", "lion"}, {"muon", "muon"}});
    const std::string name = lower(type->text());
    const auto* row = std::ranges::find(kNames, name, &Name::deepspeed);
    if (row == kNames.end())
      throw type->error("optimizer " + quoted(printable(type->text())) + " is not modelled",
                        "Adam, AdamW, SGD, Lion and Muon are", ErrorKind::not_modelled);
    add("--optimizer", std::string(row->memplan), *type);
  }

  // {"device": "cpu", …}; nothing where it is "none".
  static std::optional<std::string> place(const JsonNode& zero, std::string_view key,
                                          std::string_view old,
                                          std::span<const std::string_view> known) {
    if (const auto object = find(zero, key)) {
      require_known_keys(*object, {known});
      const auto device = find(*object, "device");
      if (!device) return {};
      const std::string name = device->one_of({"cpu", "nvme", "none"});
      if (name != "none") return name;
      return {};
    }
    const auto flag = find(zero, old);
    return flag && flag->boolean() ? std::optional<std::string>("cpu") : std::nullopt;
  }

  // Stage 3 alone reads them (deepspeed/runtime/engine.py): a part of the optimizer that stays on
  // the GPU, and SuperOffload's optimizer.
  static void whole_optimizer(const JsonNode& offload) {
    if (const auto ratio = find(offload, "ratio")) {
      const double part = ratio->number();
      if (!(part >= 0 && part <= 1))
        throw ratio->error("is no part of the optimizer", "write a number from 0 to 1");
      if (part < 1)
        throw ratio->error("an optimizer offloaded in part is not modelled",
                           "leave it away, DeepSpeed then offloads all of it",
                           ErrorKind::not_modelled);
    }
    if (const auto flag = find(offload, "super_offload"); flag && flag->boolean())
      throw flag->error("SuperOffload is not modelled", "switch it off", ErrorKind::not_modelled);
  }

  void zero_optimization(const JsonNode& zero) {
    std::vector<std::string_view> sizes;
    for (const Size& size : kSizes)
      for (std::string_view key : {size.key, size.old})
        if (!key.empty()) sizes.push_back(key);
    require_known_keys(zero, {kZeroKeys, kZeroPassed, sizes, kGathers, keys_of(kZeroRefused)});
    refuse(zero, kZeroRefused);
    const auto stage_node = find(zero, "stage");
    const int64_t stage = stage_node ? stage_node->count(0, 3) : 0;
    if (stage_node) add("--zero", std::to_string(stage), *stage_node);
    const auto optimizer = place(zero, "offload_optimizer", "cpu_offload", kOffloadOptimizer);
    const auto parameters = place(zero, "offload_param", "cpu_offload_params", kOffloadParameters);
    if (const auto object = find(zero, "offload_optimizer"); object && optimizer && stage == 3)
      whole_optimizer(*object);
    if (optimizer && stage == 0)
      throw zero.error("offload_optimizer belongs to stages 1 to 3", "give a stage");
    if (parameters && stage != 3)
      throw zero.error("offload_param belongs to stage 3", "set stage to 3, or leave it away");
    std::string places;
    const auto part = [&](std::string_view what, const std::string& where) {
      places += (places.empty() ? "" : ",") + std::string(what) + "=" + where;
    };
    if (optimizer) part("optimizer", *optimizer);
    // From stage 2 on gradients go where their optimizer is as backward makes them
    // (arXiv 2101.06840, section 4.1).
    if (optimizer && stage >= 2) part("gradients", *optimizer);
    if (parameters) part("parameters", *parameters);
    if (!places.empty()) add("--offload", places, zero);
    buckets(zero);
    if (stage == 3) stage_3(zero);
    // Whole buckets are reduced everywhere without the first, one rank's slice at a time without
    // the second.
    for (const std::string_view key : {"reduce_scatter", "use_multi_rank_bucket_allreduce"})
      if (const auto flag = find(zero, key); flag && !flag->boolean() && stage > 0)
        throw flag->error("without " + std::string(key) + " other buffers are made: not modelled",
                          "leave it true, DeepSpeed's default", ErrorKind::not_modelled);
  }

  // DeepSpeed reads a size as int(float(text)): 5e8.
  static int64_t size_of(const JsonNode& node, double least = 1) {
    const double size = node.number();
    if (!(size >= least && size <= 1e15) || size != std::floor(size))
      throw node.error("is no number of elements", "write a whole number such as 5e8");
    return static_cast<int64_t>(size);
  }

  // Below stage 3 they say nothing.
  void stage_3(const JsonNode& zero) {
    for (const Size& size : kSizes)
      for (std::string_view key : {size.key, size.old}) {
        if (key.empty()) continue;
        if (const auto given = zero.find(key); given && is_auto(*given))
          add(std::string(size.option), "auto", *given);
        else if (const auto value = find(zero, key))
          add(std::string(size.option), std::to_string(size_of(*value, 0)), *value);
      }
    for (std::string_view key : kGathers)
      if (const auto flag = find(zero, key))
        add("--gather-16bit-weights", flag->boolean() ? "true" : "false", *flag);
    if (const auto flag = find(zero, "memory_efficient_linear"); flag && !flag->boolean())
      throw flag->error("linear layers that keep what is gathered are not modelled",
                        "leave it true, DeepSpeed's default", ErrorKind::not_modelled);
  }

  void buckets(const JsonNode& zero) {
    constexpr std::string_view kBucket = "reduce_bucket_size";
    if (const auto given = zero.find(kBucket); given && is_auto(*given))
      add("--reduce-bucket-size", "auto", *given);
    else if (const auto size = find(zero, kBucket))
      add("--reduce-bucket-size", std::to_string(size_of(*size)), *size);
    for (const std::string_view key :
         {"overlap_comm", "contiguous_gradients", "round_robin_gradients"})
      if (const auto flag = find(zero, key)) {
        std::string option = "--" + std::string(key);
        std::ranges::replace(option, '_', '-');
        add(std::move(option), flag->boolean() ? "true" : "false", *flag);
      }
  }

  const JsonNode& root_;
  std::vector<FileSetting> out_;
};

}  // namespace

std::vector<FileSetting> parse_deepspeed_config(std::string_view text, const std::string& file) {
  const JsonDocument document(text, file);
  const JsonNode root = document.root();
  return DeepSpeed(root.require_object()).read();
}

std::vector<FileSetting> read_deepspeed_config(const std::string& path) {
  return parse_deepspeed_config(read_text_file(path), path);
}

}  // namespace memplan
