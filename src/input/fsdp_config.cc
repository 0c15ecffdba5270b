// accelerate's configuration of FSDP in JSON, by accelerate/commands/config and
// accelerate/utils/dataclasses.py FullyShardedDataParallelPlugin (1.12).
#include <algorithm>
#include <array>
#include <optional>

#include "input/framework_files.h"
#include "input/known_keys.h"
#include "input/text_file.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr auto kKeys = std::to_array<std::string_view>(
    {"distributed_type", "num_processes", "num_machines", "mixed_precision", "fsdp_config",
     "gradient_accumulation_steps", "parallelism_config"});
constexpr auto kPassed = std::to_array<std::string_view>({"compute_environment",
                                                          "debug",
                                                          "downcast_bf16",
                                                          "enable_cpu_affinity",
                                                          "gpu_ids",
                                                          "machine_rank",
                                                          "main_process_ip",
                                                          "main_process_port",
                                                          "main_training_function",
                                                          "rdzv_backend",
                                                          "same_network",
                                                          "tpu_env",
                                                          "tpu_use_cluster",
                                                          "tpu_use_sudo",
                                                          "tpu_name",
                                                          "tpu_zone",
                                                          "commands",
                                                          "command_file",
                                                          "use_cpu",
                                                          "deepspeed_config",
                                                          "megatron_lm_config",
                                                          "fp8_config",
                                                          "dynamo_config",
                                                          "mpirun_config",
                                                          "ipex_config",
                                                          "tp_config"});
// parallelism_config.py ParallelismConfig, by the names of the questionnaire.
constexpr auto kParallelKeys = std::to_array<std::string_view>(
    {"parallelism_config_dp_replicate_size", "parallelism_config_dp_shard_size",
     "parallelism_config_tp_size", "parallelism_config_cp_size", "parallelism_config_sp_size"});
constexpr auto kParallelPassed = std::to_array<std::string_view>(
    {"parallelism_config_cp_comm_strategy", "parallelism_config_cp_backend",
     "parallelism_config_sp_backend"});
constexpr auto kFsdpKeys = std::to_array<std::string_view>(
    {"fsdp_version", "fsdp_sharding_strategy", "fsdp_reshard_after_forward", "fsdp_offload_params",
     "fsdp_activation_checkpointing", "fsdp_auto_wrap_policy", "fsdp_backward_prefetch",
     "fsdp_forward_prefetch", "fsdp_use_orig_params"});
constexpr auto kFsdpPassed = std::to_array<std::string_view>(
    {"fsdp_transformer_layer_cls_to_wrap", "fsdp_min_num_params", "fsdp_backward_prefetch_policy",
     "fsdp_state_dict_type", "fsdp_sync_module_states", "fsdp_cpu_ram_efficient_loading"});

class Accelerate {
 public:
  explicit Accelerate(const JsonNode& root) : root_(root) {}

  std::vector<FileSetting> read() {
    require_known_keys(root_, {kKeys, kPassed});
    if (const auto type = root_.find("distributed_type"); type && type->text() != "FSDP")
      throw type->error(quoted(printable(type->text())) + " is not FSDP",
                        "give DeepSpeed's own file with --deepspeed");
    processes();
    precision();
    if (const auto steps = find(root_, "gradient_accumulation_steps"))
      add("--accumulation", std::to_string(whole(*steps)), *steps);
    const auto fsdp = find(root_, "fsdp_config");
    if (!fsdp) throw root_.missing("fsdp_config").error("is absent", "give FSDP's own settings");
    sharding(fsdp->require_object());
    if (const auto mesh = find(root_, "parallelism_config")) parallelism(mesh->require_object());
    return std::move(out_);
  }

 private:
  static std::optional<JsonNode> find(const JsonNode& object, std::string_view key) {
    auto node = object.find(key);
    if (node && node->is_null()) node.reset();
    return node;
  }
  void add(std::string option, std::string text, const JsonNode& node) {
    out_.push_back({std::move(option), std::move(text), node.where()});
  }
  static int64_t whole(const JsonNode& node) { return node.count(); }

  void processes() {
    const auto processes = find(root_, "num_processes");
    if (!processes) return;
    add("--gpus", std::to_string(whole(*processes)), *processes);
    const auto machines = find(root_, "num_machines");
    if (!machines) return;
    if (whole(*processes) % whole(*machines) != 0)
      throw machines->error("does not divide num_processes", "give each machine as many");
    add("--gpus-per-node", std::to_string(whole(*processes) / whole(*machines)), *machines);
  }

  // Weights stay in fp32 and are gathered in 16 bits.
  void precision() {
    const auto type = find(root_, "mixed_precision");
    if (!type) return;
    const std::string name = type->one_of({"no", "bf16", "fp16", "fp8"});
    if (name == "fp8")
      throw type->error("fp8 is not modelled", "use bf16", ErrorKind::not_modelled);
    add("--precision", name == "no" ? "fp32" : "amp-" + name, *type);
  }

  // FSDP1 names a strategy, by word or by number; FSDP2 says whether weights are let go of.
  int64_t stage_of(const JsonNode& fsdp, std::optional<JsonNode>& at) {
    const auto version = find(fsdp, "fsdp_version");
    const int64_t number = version ? version->count(1, 2) : 1;
    at = find(fsdp, "fsdp_reshard_after_forward");
    if (number == 2) {
      if (!at) return 3;
      if (at->is_boolean()) return at->boolean() ? 3 : 2;
      return at->one_of({"true", "false"}) == "true" ? 3 : 2;
    }
    if (const auto strategy = find(fsdp, "fsdp_sharding_strategy")) at = strategy;
    if (!at) return 3;
    constexpr size_t kHybrid = 3;
    constexpr std::array<std::string_view, 5> kStrategies{"FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD",
                                                          "HYBRID_SHARD", "HYBRID_SHARD_ZERO2"};
    constexpr std::array<int64_t, kStrategies.size()> kStages{3, 2, 0, 3, 2};
    const size_t index =
        at->is_text()
            ? static_cast<size_t>(std::ranges::find(kStrategies, at->one_of({kStrategies.begin(),
                                                                             kStrategies.end()})) -
                                  kStrategies.begin())
            : static_cast<size_t>(at->count(1, 5) - 1);
    if (index >= kHybrid) replicate_machines(*at);
    if (kStages[index] == 0) add("--sharding-strategy", "no-shard", *at);
    return kStages[index];
  }

  // _init_utils.py _init_intra_and_inter_node_groups: parameters are cut within a machine.
  void replicate_machines(const JsonNode& strategy) {
    const auto machines = find(root_, "num_machines");
    if (!machines)
      throw strategy.error("shards within a machine, but num_machines is absent",
                           "say how many machines there are");
    add("--dp-replicate", std::to_string(whole(*machines)), strategy);
  }

  void parallelism(const JsonNode& mesh) {
    require_known_keys(mesh, {kParallelKeys, kParallelPassed});
    for (const char* key :
         {"parallelism_config_tp_size", "parallelism_config_cp_size", "parallelism_config_sp_size"})
      if (const auto size = find(mesh, key); size && whole(*size) > 1)
        throw size->error("is not modelled together with FSDP", "use 1", ErrorKind::not_modelled);
    const auto copies = find(mesh, "parallelism_config_dp_replicate_size");
    const auto shards = find(mesh, "parallelism_config_dp_shard_size");
    const auto processes = find(root_, "num_processes");
    const int64_t replicas = copies ? whole(*copies) : 1;
    if (shards && processes &&
        (whole(*processes) % replicas != 0 || whole(*processes) / replicas != whole(*shards)))
      throw shards->error("times dp_replicate_size is not num_processes", "make the product so");
    if (copies && replicas > 1) add("--dp-replicate", std::to_string(replicas), *copies);
  }

  static bool is_true(const JsonNode& fsdp, std::string_view key) {
    const auto flag = find(fsdp, key);
    if (!flag) return false;
    return flag->is_text() ? flag->one_of({"true", "false"}) == "true" : flag->boolean();
  }

  void sharding(const JsonNode& fsdp) {
    require_known_keys(fsdp, {kFsdpKeys, kFsdpPassed});
    std::optional<JsonNode> at;
    const int64_t stage = stage_of(fsdp, at);
    add("--zero", std::to_string(stage), at.value_or(fsdp));
    units(fsdp);
    const auto version = find(fsdp, "fsdp_version");
    if (!version || version->count(1, 2) == 1) flat_parameters(fsdp);
    if (is_true(fsdp, "fsdp_activation_checkpointing"))
      add("--recompute", "full", fsdp.at("fsdp_activation_checkpointing"));
    if (!is_true(fsdp, "fsdp_offload_params")) return;
    if (stage != 3)
      throw fsdp.at("fsdp_offload_params")
          .error("is modelled for FULL_SHARD alone", "use FULL_SHARD", ErrorKind::not_modelled);
    add("--offload", "optimizer=cpu,gradients=cpu,parameters=cpu", fsdp.at("fsdp_offload_params"));
  }

  // FSDP1's arguments, whose defaults are accelerate's
  // (FullyShardedDataParallelPlugin.__post_init__).
  void flat_parameters(const JsonNode& fsdp) {
    const auto prefetch = find(fsdp, "fsdp_backward_prefetch");
    const std::string when =
        prefetch ? prefetch->one_of({"BACKWARD_PRE", "BACKWARD_POST", "NO_PREFETCH"})
                 : "NO_PREFETCH";
    add("--backward-prefetch",
        when == "BACKWARD_PRE"    ? "pre"
        : when == "BACKWARD_POST" ? "post"
                                  : "none",
        prefetch.value_or(fsdp));
    for (const auto& [key, option] : {std::pair("fsdp_forward_prefetch", "--forward-prefetch"),
                                      std::pair("fsdp_use_orig_params", "--use-orig-params")})
      if (is_true(fsdp, key)) add(option, "true", fsdp.at(key));
  }

  // Without one the policy is NO_WRAP.
  void units(const JsonNode& fsdp) {
    const auto policy = find(fsdp, "fsdp_auto_wrap_policy");
    if (!policy) return;
    const std::string name =
        policy->one_of({"TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP", "NO_WRAP"});
    add("--wrap-policy",
        name == "SIZE_BASED_WRAP" ? "size"
        : name == "NO_WRAP"       ? "none"
                                  : "layers",
        *policy);
  }

  const JsonNode& root_;
  std::vector<FileSetting> out_;
};

}  // namespace

std::vector<FileSetting> parse_fsdp_config(std::string_view text, const std::string& file) {
  if (file.ends_with(".yaml") || file.ends_with(".yml")) throw yaml_is_not_read(file);
  const JsonDocument document(text, file);
  const JsonNode root = document.root();
  return Accelerate(root.require_object()).read();
}

std::vector<FileSetting> read_fsdp_config(const std::string& path) {
  return parse_fsdp_config(read_text_file(path), path);
}

}  // namespace memplan
