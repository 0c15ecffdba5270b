#include "input/framework_files.h"

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "memplan/error.h"

using namespace memplan;

namespace {

using Read = std::vector<FileSetting> (*)(std::string_view, const std::string&);

std::string settings(Read read, std::string_view text) {
  std::string out;
  for (const FileSetting& setting : read(text, "f.json"))
    out += (out.empty() ? "" : " ") + setting.option + " " + setting.text;
  return out;
}
std::string deepspeed(std::string_view text) { return settings(parse_deepspeed_config, text); }
std::string fsdp(const std::string& inner) {
  return settings(parse_fsdp_config,
                  "{\"distributed_type\": \"FSDP\", \"fsdp_config\": {" + inner + "}}");
}

void expect_error(Read read, std::string_view text, std::string_view where,
                  const std::vector<std::string_view>& fragments,
                  ErrorKind kind = ErrorKind::bad_input) {
  CAPTURE(text.substr(0, 400));
  try {
    read(text, "f.json");
    FAIL_CHECK("was accepted");
  } catch (const Error& error) {
    CHECK_MESSAGE(error.kind() == kind, error.what());
    CHECK(error.where() == "f.json" + std::string(where));
    const std::string message = error.what();
    for (std::string_view fragment : fragments) {
      CHECK_MESSAGE(message.find(fragment) != message.npos, "no '", fragment, "' in: ", message);
    }
  }
}
void bad_deepspeed(std::string_view text, std::string_view where,
                   const std::vector<std::string_view>& fragments) {
  expect_error(parse_deepspeed_config, text, where, fragments);
}
void refused_deepspeed(std::string_view text, std::string_view where,
                       const std::vector<std::string_view>& fragments) {
  expect_error(parse_deepspeed_config, text, where, fragments, ErrorKind::not_modelled);
}
void bad_zero(const std::string& inner, const std::string& where,
              const std::vector<std::string_view>& fragments) {
  bad_deepspeed("{\"zero_optimization\": {" + inner + "}}", ": /zero_optimization" + where,
                fragments);
}
void refused_zero(const std::string& inner, const std::string& where,
                  const std::vector<std::string_view>& fragments) {
  refused_deepspeed("{\"zero_optimization\": {\"stage\": 3, " + inner + "}}",
                    ": /zero_optimization" + where, fragments);
}
void bad_accelerate(std::string_view text, std::string_view where,
                    const std::vector<std::string_view>& fragments,
                    ErrorKind kind = ErrorKind::bad_input) {
  expect_error(parse_fsdp_config, text, where, fragments, kind);
}
void bad_fsdp(const std::string& inner, const std::string& where,
              const std::vector<std::string_view>& fragments,
              ErrorKind kind = ErrorKind::bad_input) {
  expect_error(parse_fsdp_config, "{\"fsdp_config\": {" + inner + "}}", ": /fsdp_config" + where,
               fragments, kind);
}

}  // namespace

TEST_SUITE("input/framework files") {
  TEST_CASE("DeepSpeed: what is read") {
    CHECK(deepspeed(R"({"bf16": {"enabled": true}, "train_micro_batch_size_per_gpu": 4,
                        "train_batch_size": 64})") ==
          "--micro-batch 4 --global-batch 64 --precision mixed-bf16");
    CHECK(deepspeed(R"({"gradient_accumulation_steps": 8})") ==
          "--accumulation 8 --precision fp32");
    CHECK(deepspeed(R"({"fp16": {"enabled": true}, "optimizer": {"type": "AdamW"}})") ==
          "--precision mixed-fp16 --optimizer adamw");
    CHECK(deepspeed(R"({"bf16": {"enabled": true}, "data_types": {"grad_accum_dtype": "fp32"}})") ==
          "--precision mixed-bf16 --grad-dtype fp32");
    CHECK(deepspeed(
              R"({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}})") ==
          "--precision fp32 --zero 2 --offload optimizer=cpu,gradients=cpu");
    CHECK(deepspeed(
              R"({"zero_optimization": {"stage": 1, "offload_optimizer": {"device": "cpu"}}})") ==
          "--precision fp32 --zero 1 --offload optimizer=cpu");
    CHECK(deepspeed(R"({"zero_optimization": {"stage": 3, "offload_param": {"device": "nvme"},
                        "offload_optimizer": {"device": "nvme"}}})") ==
          "--precision fp32 --zero 3 --offload optimizer=nvme,gradients=nvme,parameters=nvme");
    // Every field of both, at a value that moves nothing: all of the optimizer, SuperOffload off.
    CHECK(deepspeed(R"({"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu",
                        "nvme_path": "/d", "buffer_count": 5, "buffer_size": 1e8,
                        "max_in_cpu": 1e9, "pin_memory": true},
                        "offload_optimizer": {"device": "cpu", "nvme_path": "/d",
                        "buffer_count": 4, "pin_memory": true, "pipeline_read": false,
                        "pipeline_write": false, "fast_init": false, "ratio": 1.0,
                        "super_offload": false,
                        "cpuadam_cores_perc": 0.8}}})") ==
          "--precision fp32 --zero 3 --offload optimizer=cpu,gradients=cpu,parameters=cpu");
    // Stages 1 and 2 do not read the ratio, and nothing is offloaded where the device is none.
    CHECK(deepspeed(R"({"zero_optimization": {"stage": 1, "offload_optimizer":
                        {"device": "cpu", "ratio": 0.5}}})") ==
          "--precision fp32 --zero 1 --offload optimizer=cpu");
    CHECK(deepspeed(R"({"zero_optimization": {"stage": 3, "offload_optimizer":
                        {"device": "none", "ratio": 0.5}}})") == "--precision fp32 --zero 3");
    CHECK(deepspeed(R"({"zero_optimization": {"stage": 2, "cpu_offload": true}})") ==
          "--precision fp32 --zero 2 --offload optimizer=cpu,gradients=cpu");
    CHECK(deepspeed(
              R"({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "none"}}})") ==
          "--precision fp32 --zero 2");
    CHECK(deepspeed(R"({"tensor_parallel": {"autotp_size": 4}})") == "--precision fp32 --tp 4");
  }

  TEST_CASE("DeepSpeed: what is auto is left to options") {
    CHECK(deepspeed(R"({"train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto",
                        "gradient_accumulation_steps": "auto", "bf16": {"enabled": "auto"},
                        "fp16": {"enabled": "auto"}, "gradient_clipping": "auto",
                        "zero_optimization": {"stage": 3, "reduce_bucket_size": "auto"}})") ==
          "--zero 3 --reduce-bucket-size auto");
  }

  TEST_CASE("DeepSpeed: buckets of gradients") {
    CHECK(deepspeed(R"({"zero_optimization": {"stage": 2, "reduce_bucket_size": 2e8,
                        "overlap_comm": true, "contiguous_gradients": false}})") ==
          "--precision fp32 --zero 2 --reduce-bucket-size 200000000 --overlap-comm true "
          "--contiguous-gradients false");
    bad_zero(R"("stage": 2, "reduce_bucket_size": 2.5)", "/reduce_bucket_size", {"elements"});
    bad_zero(R"("stage": 2, "reduce_bucket_size": 0)", "/reduce_bucket_size", {"elements"});
    bad_zero(R"("stage": 2, "reduce_bucket_size": "big")", "/reduce_bucket_size", {});
    bad_zero(R"("stage": 2, "overlap_comm": "yes")", "/overlap_comm", {});
  }

  TEST_CASE("DeepSpeed: where a setting stands") {
    const auto all = parse_deepspeed_config(R"({"zero_optimization": {"stage": 3}})", "f.json");
    CHECK(all.back().where == "f.json: /zero_optimization/stage");
  }

  TEST_CASE("DeepSpeed: bad inputs") {
    bad_deepspeed("", "", {"is empty"});
    bad_deepspeed("[]", "", {"object"});
    bad_deepspeed("{\"bf16\": {\"enabled\": true}", ": line 1, column 27", {"ends in the middle"});
    bad_deepspeed(R"({"train_batchsize": 4})", ": /train_batchsize",
                  {"unknown key", "train_batch_size"});
    bad_deepspeed(R"({"zero_optimisation": {}})", ": /zero_optimisation", {"zero_optimization"});
    bad_deepspeed(R"({"train_batch_size": 0})", ": /train_batch_size", {});
    bad_deepspeed(R"({"train_batch_size": "64"})", ": /train_batch_size", {});
    bad_deepspeed(R"({"train_batch_size": 2.5})", ": /train_batch_size", {});
    bad_deepspeed(R"({"train_micro_batch_size_per_gpu": -1})", ": /train_micro_batch_size_per_gpu",
                  {});
    bad_deepspeed(R"({"gradient_accumulation_steps": true})", ": /gradient_accumulation_steps", {});
    bad_deepspeed(R"({"train_batch_size": 10, "train_micro_batch_size_per_gpu": 4})",
                  ": /train_batch_size", {"is no multiple"});
    bad_deepspeed(R"({"train_batch_size": 16, "train_micro_batch_size_per_gpu": 4,
                      "gradient_accumulation_steps": 3})",
                  ": /train_batch_size", {"is no multiple", "change one of the three"});
    bad_deepspeed(R"({"bf16": true})", ": /bf16", {"object"});
    bad_deepspeed(R"({"bf16": {"enabled": "yes"}})", ": /bf16/enabled", {});
    bad_deepspeed(R"({"bf16": {"enabled": true}, "fp16": {"enabled": true}})", ": /fp16",
                  {"contradicts bf16"});
    bad_deepspeed(R"({"data_types": {"grad_accum_dtype": "float32"}})",
                  ": /data_types/grad_accum_dtype", {"fp32"});
    bad_deepspeed(R"({"optimizer": "AdamW"})", ": /optimizer", {"object"});
    bad_deepspeed(R"({"optimizer": {"type": 3}})", ": /optimizer/type", {"text"});
    bad_deepspeed(R"({"tensor_parallel": {"autotp_size": -2}})", ": /tensor_parallel/autotp_size",
                  {});
    bad_deepspeed(R"({"zero_optimization": 3})", ": /zero_optimization", {"object"});
    bad_zero(R"("stage": 4)", "/stage", {"4"});
    bad_zero(R"("stage": "3")", "/stage", {});
    bad_zero(R"("stage": 3, "offload_optimiser": {})", "/offload_optimiser",
             {"unknown key", "offload_optimizer"});
    bad_zero(R"("stage": 3, "offload_optimizer": {"device": "gpu"})", "/offload_optimizer/device",
             {"cpu"});
    bad_zero(R"("stage": 3, "offload_optimizer": "cpu")", "/offload_optimizer", {"object"});
    // Without the check the misspelt device would be no offload at all.
    bad_zero(R"("stage": 2, "offload_optimizer": {"devise": "cpu"})", "/offload_optimizer/devise",
             {"unknown key", "device"});
    bad_zero(R"("stage": 3, "offload_param": {"device": "cpu", "ratio": 0.5})",
             "/offload_param/ratio", {"unknown key"});
    bad_zero(R"("stage": 3, "offload_optimizer": {"device": "cpu", "ratio": 1.5})",
             "/offload_optimizer/ratio", {"from 0 to 1"});
    bad_zero(R"("stage": 0, "offload_optimizer": {"device": "cpu"})", "", {"stages 1 to 3"});
    bad_zero(R"("stage": 2, "offload_param": {"device": "cpu"})", "", {"belongs to stage 3"});
    bad_zero(R"("stage": 2, "cpu_offload": "yes")", "/cpu_offload", {});
    bad_deepspeed(R"({"fp16": {"enabled": true}, "fp16": {"enabled": true}})", ": /fp16",
                  {"twice"});
  }

  TEST_CASE("DeepSpeed: what is refused by name") {
    refused_deepspeed(R"({"optimizer": {"type": "OneBitAdam"}})", ": /optimizer/type",
                      {"'OneBitAdam' is not modelled"});
    refused_deepspeed(R"({"amp": {"enabled": true}})", ": /amp", {"Apex's amp"});
    refused_deepspeed(R"({"elasticity": {"enabled": true}})", ": /elasticity", {"elastic"});
    refused_deepspeed(R"({"curriculum_learning": {"enabled": true}})", ": /curriculum_learning",
                      {});
    refused_deepspeed(R"({"sparse_gradients": true})", ": /sparse_gradients", {});
    refused_zero(R"("offload_optimizer": {"device": "cpu", "ratio": 0.5})",
                 "/offload_optimizer/ratio", {"in part is not modelled"});
    refused_zero(R"("offload_optimizer": {"device": "cpu", "super_offload": true})",
                 "/offload_optimizer/super_offload", {"SuperOffload"});
    refused_zero("\"memory_efficient_linear\": false", "/memory_efficient_linear", {"linear"});
    refused_zero("\"stage3_module_granularity_threshold\": 5e5",
                 "/stage3_module_granularity_threshold", {"modules"});
    CHECK(deepspeed(R"({"zero_optimization": {"stage": 3, "stage3_max_live_parameters": 1e9,
                     "stage3_prefetch_bucket_size": "auto", "sub_group_size": 5e8}})") ==
          "--precision fp32 --zero 3 --sub-group-size 500000000 --prefetch-bucket-size auto "
          "--max-live-parameters 1000000000");
    CHECK(deepspeed(R"({"zero_optimization": {"stage": 2, "sub_group_size": 5e8}})") ==
          "--precision fp32 --zero 2");
    refused_deepspeed(R"({"zero_optimization": {"stage": 2, "reduce_scatter": false}})",
                      ": /zero_optimization/reduce_scatter", {"reduce_scatter"});
    refused_deepspeed(
        R"({"zero_optimization": {"stage": 1, "use_multi_rank_bucket_allreduce": false}})",
        ": /zero_optimization/use_multi_rank_bucket_allreduce", {});
    refused_zero(R"("zero_hpz_partition_size": 8)", "/zero_hpz_partition_size", {"ZeRO++"});
    refused_zero(R"("zero_quantized_weights": true)", "/zero_quantized_weights", {"ZeRO++"});
    refused_zero(R"("zero_quantized_gradients": true)", "/zero_quantized_gradients", {"ZeRO++"});
    refused_zero(R"("mics_shard_size": 8)", "/mics_shard_size", {"MiCS"});
    CHECK(deepspeed(R"({"amp": {"enabled": false}, "zero_optimization": {
              "zero_hpz_partition_size": 1, "mics_shard_size": -1}})") == "--precision fp32");
  }

  TEST_CASE("FSDP: what is read") {
    CHECK(fsdp("") == "--zero 3 --backward-prefetch none");
    CHECK(fsdp(R"("fsdp_sharding_strategy": "SHARD_GRAD_OP")") ==
          "--zero 2 --backward-prefetch none");
    CHECK(fsdp(R"("fsdp_sharding_strategy": 3)") ==
          "--sharding-strategy no-shard --zero 0 --backward-prefetch none");
    CHECK(fsdp(R"("fsdp_version": 2, "fsdp_reshard_after_forward": false)") == "--zero 2");
    CHECK(fsdp(R"("fsdp_version": 2, "fsdp_reshard_after_forward": true)") == "--zero 3");
    CHECK(fsdp(R"("fsdp_activation_checkpointing": true)") ==
          "--zero 3 --backward-prefetch none --recompute full");
    CHECK(fsdp(R"("fsdp_offload_params": true)") ==
          "--zero 3 --backward-prefetch none --offload optimizer=cpu,gradients=cpu,parameters=cpu");
    CHECK(settings(parse_fsdp_config,
                   R"({"num_processes": 16, "num_machines": 2,
                       "fsdp_config": {"fsdp_sharding_strategy": "HYBRID_SHARD_ZERO2"}})") ==
          "--gpus 16 --gpus-per-node 8 --dp-replicate 2 --zero 2 --backward-prefetch none");
    CHECK(settings(parse_fsdp_config,
                   R"({"num_processes": 16, "fsdp_config": {"fsdp_version": 2},
                       "parallelism_config": {"parallelism_config_dp_replicate_size": 4,
                                              "parallelism_config_dp_shard_size": 4,
                                              "parallelism_config_tp_size": 1}})") ==
          "--gpus 16 --zero 3 --dp-replicate 4");
    CHECK(settings(parse_fsdp_config,
                   R"({"num_processes": 16, "num_machines": 2, "mixed_precision": "bf16",
                       "gradient_accumulation_steps": 4, "fsdp_config": {}})") ==
          "--gpus 16 --gpus-per-node 8 --precision amp-bf16 --accumulation 4 --zero 3 "
          "--backward-prefetch none");
    CHECK(
        fsdp(
            R"("fsdp_auto_wrap_policy": "SIZE_BASED_WRAP", "fsdp_backward_prefetch": "BACKWARD_POST",
                  "fsdp_forward_prefetch": true, "fsdp_use_orig_params": "true")") ==
        "--zero 3 --wrap-policy size --backward-prefetch post --forward-prefetch true "
        "--use-orig-params true");
    CHECK(fsdp(R"("fsdp_version": 2, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
                  "fsdp_use_orig_params": true)") == "--zero 3 --wrap-policy layers");
  }

  TEST_CASE("FSDP: bad inputs") {
    bad_accelerate("", "", {"is empty"});
    bad_accelerate("3", "", {"object"});
    bad_accelerate("compute_environment: LOCAL_MACHINE\n", ": line 1, column 1", {"is not JSON"});
    bad_accelerate("{}", ": /fsdp_config", {"is absent"});
    bad_accelerate(R"({"distributed_type": "DEEPSPEED"})", ": /distributed_type",
                   {"'DEEPSPEED' is not FSDP", "--deepspeed"});
    bad_accelerate(R"({"num_proceses": 8})", ": /num_proceses", {"num_processes"});
    bad_accelerate(R"({"num_processes": "8", "fsdp_config": {}})", ": /num_processes", {});
    bad_accelerate(R"({"num_processes": 8, "num_machines": 3, "fsdp_config": {}})",
                   ": /num_machines", {"does not divide num_processes"});
    bad_accelerate(R"({"mixed_precision": "bf8", "fsdp_config": {}})", ": /mixed_precision",
                   {"bf16"});
    bad_accelerate(R"({"fsdp_config": 3})", ": /fsdp_config", {"object"});
    bad_fsdp(R"("fsdp_shard_strategy": 1)", "/fsdp_shard_strategy",
             {"unknown key", "fsdp_sharding_strategy"});
    bad_fsdp(R"("fsdp_sharding_strategy": "FULL")", "/fsdp_sharding_strategy", {"FULL_SHARD"});
    bad_fsdp(R"("fsdp_sharding_strategy": 6)", "/fsdp_sharding_strategy", {});
    bad_fsdp(R"("fsdp_version": 3)", "/fsdp_version", {});
    bad_fsdp(R"("fsdp_version": 2, "fsdp_reshard_after_forward": "FULL_SHARD")",
             "/fsdp_reshard_after_forward", {});
    bad_fsdp(R"("fsdp_activation_checkpointing": 1)", "/fsdp_activation_checkpointing", {});
    bad_fsdp(R"("fsdp_sharding_strategy": "HYBRID_SHARD")", "/fsdp_sharding_strategy",
             {"num_machines is absent"});
    bad_accelerate(
        R"({"fsdp_config": {}, "parallelism_config": {"parallelism_config_tp_size": 2}})",
        ": /parallelism_config/parallelism_config_tp_size", {"not modelled"},
        ErrorKind::not_modelled);
    bad_accelerate(R"({"num_processes": 8, "fsdp_config": {}, "parallelism_config":
                       {"parallelism_config_dp_replicate_size": 2,
                        "parallelism_config_dp_shard_size": 8}})",
                   ": /parallelism_config/parallelism_config_dp_shard_size", {"num_processes"});
    bad_accelerate(R"({"fsdp_config": {}, "parallelism_config": {"dp_size": 2}})",
                   ": /parallelism_config/dp_size", {"unknown key"});
    bad_fsdp(R"("fsdp_sharding_strategy": 2, "fsdp_offload_params": true)", "/fsdp_offload_params",
             {"FULL_SHARD alone"}, ErrorKind::not_modelled);
    bad_fsdp(R"("fsdp_auto_wrap_policy": "SOME_WRAP")", "/fsdp_auto_wrap_policy", {"SOME_WRAP"});
    bad_fsdp(R"("fsdp_backward_prefetch": "BACKWARD")", "/fsdp_backward_prefetch", {"BACKWARD"});
    bad_fsdp(R"("fsdp_forward_prefetch": 1)", "/fsdp_forward_prefetch", {});
    CHECK_THROWS_WITH_AS(parse_fsdp_config("a: 1", "default_config.yaml"),
                         doctest::Contains("is YAML, which is not read"), Error);
  }
}
