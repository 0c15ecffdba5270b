#include "input/published_torchtitan.h"

#include <string>
#include <utility>

#include "input/case_fields.h"
#include "input/published_fields.h"

namespace memplan {
namespace {

Error refusal(const JsonNode& line, std::string problem) {
  return line.error(std::move(problem), "", ErrorKind::not_modelled);
}

// Which state of it was measured, with which torch. fully_shard before its first release, torch
// 2.6, is taken for that.
void read_versions(const JsonNode& line, Strategy& s) {
  s.torch = {2, 6, 0};
  const std::string release = published_text(line, "framework_version");
  const std::string source = published_text(line.at("source"), "url");
  if (source.ends_with("torchtitan/pull/165"))
    s.torchtitan = {0, 0, 1};
  else if (release.starts_with("torchtitan 9dec370"))
    s.torchtitan = {0, 0, 2};
  else if (release.empty())
    throw unsaid(line, "version");
  else
    throw refusal(line, "'" + printable(release) + "' is not modelled");
}

void read_degrees(const JsonNode& line, Strategy& s) {
  const JsonNode plan = line.at("parallelism");
  for (const char* key : {"tp", "pp", "cp"})
    if (const auto degree = plan.find(key); degree && degree->count() > 1)
      throw refusal(*degree, std::string(key) + " of torchtitan is not modelled");
  s.dp = line.at("n_gpus").count();
  if (published_text(line, "framework") == "fsdp1") {
    s.framework = Framework::fsdp1;
    s.fsdp.use_orig_params = true;
    return;
  }
  s.framework = Framework::torchtitan;
  s.fsdp.root_after_forward = 1;  // _lazy_init of torch 2.6: of a root, always
}

Recompute recompute_of(const JsonNode& line) {
  const std::string text = published_text(line, "recompute");
  if (text.starts_with("selective") && text.find("op") != text.npos) return Recompute::selective;
  return published_recompute(line);
}

}  // namespace

Job read_torchtitan_record(const JsonNode& line) {
  if (published_flag(line, "compile"))
    throw refusal(line, "torch.compile of torchtitan's layers is not modelled");
  const std::string precision = published_text(line, "precision");
  if (!precision.starts_with("bf16 mixed") || precision.find("float8") != precision.npos)
    throw refusal(line, "precision '" + printable(precision) + "' is not modelled");
  Job job;
  job.model = published_model(line);
  job.model.implementation = Implementation::torchtitan;
  Strategy& s = job.strategy;
  read_versions(line, s);
  read_degrees(line, s);
  s.precision = parse_precision("fp32", line.where());
  s.fsdp.param_dtype = DType::bf16;
  s.fsdp.reduce_dtype = DType::f32;
  s.attention = AttentionKind::sdpa;
  s.clip_gradients = true;
  s.optimizer_impl = OptimizerImpl::foreach_;  // "foreach": not fused, which is off
  s.keep_outputs = s.torchtitan == Version{0, 0, 1};
  s.recompute = recompute_of(line);
  s.sequence = published_sequence(line);
  s.micro_batch = published_micro_batch(line);
  s.global_batch = checked_mul(s.micro_batch, s.dp);
  place_on_any_gpu(job);
  if (published_text(line, "gpu").starts_with("H100")) job.cluster.gpu = find_gpu("h100-80g");
  return job;
}

}  // namespace memplan
