#include "report/request.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "../cost/jobs.h"

namespace memplan {
namespace {

std::string value_of(const Job& job, std::string_view key) {
  for (const Setting& setting : settings_of(job))
    if (setting.key == key) return setting_text(setting.value);
  return "absent";
}

TEST_CASE("settings are written as options read them") {
  Job job = small_job();
  job.strategy.zero = 2;
  job.strategy.training = false;
  job.cluster.network_bandwidth = 4e11;
  CHECK(value_of(job, "zero") == "2");
  CHECK(value_of(job, "forward_only") == "true");
  CHECK(value_of(job, "network") == "400000000000");
  CHECK(value_of(job, "host_memory") == "-");
  CHECK(value_of(job, "gpu") == "h100-80g");
  job.cluster.gpu = custom_gpu(kGiB * 24);
  CHECK(value_of(job, "gpu") == "-");
  CHECK(value_of(job, "gpu_memory") == "25769803776");
}

TEST_CASE("what PyTorch jobs are told apart by stands in their requests alone") {
  Job job = small_job();
  CHECK(value_of(job, "torch_version") == "absent");
  job.strategy.framework = Framework::huggingface;
  job.strategy.quantization = {QuantKind::nf4, true};
  job.strategy.clip_gradients = true;
  job.strategy.optimizer_impl = OptimizerImpl::foreach_;
  CHECK(value_of(job, "torch_version") == "2.14.1");
  CHECK(value_of(job, "quantization") == "nf4-dq");
  CHECK(value_of(job, "prepare_kbit") == "true");
  CHECK(value_of(job, "compute_dtype") == "-");
  CHECK(value_of(job, "clip") == "true");
  CHECK(value_of(job, "optimizer_impl") == "foreach");
  CHECK(value_of(job, "bucket_size") == "26214400");
}

TEST_CASE("no key stands twice") {
  Job job = small_job();
  job.strategy.framework = Framework::pytorch;
  std::vector<std::string_view> keys;
  for (const Setting& setting : settings_of(job)) keys.push_back(setting.key);
  std::ranges::sort(keys);
  CHECK(std::ranges::adjacent_find(keys) == keys.end());
}

TEST_CASE("offload, training and adapters in a word") {
  CHECK(offload_text({}) == "none");
  CHECK(offload_text({Placement::cpu, Placement::gpu, Placement::nvme}) ==
        "optimizer=cpu,parameters=nvme");
  CHECK(train_text({}) == "all");
  CHECK(train_text({Trainable::Kind::last_layers, 3}) == "last:3");
  CHECK(train_text({Trainable::Kind::bias, 0}) == "bias");
  PeftSpec peft;
  CHECK(peft_text(peft) == "none");
  peft.kind = PeftKind::lora;
  peft.merged = true;
  CHECK(peft_text(peft) == "lora r 8, merged");
  peft.kind = PeftKind::houlsby;
  CHECK(peft_text(peft) == "houlsby m 64");
}

}  // namespace
}  // namespace memplan
