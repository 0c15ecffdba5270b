// A case of trace_step.py -> Job. Keys, meanings and DEFAULTS are that program's.
#include "input/trace_case.h"

#include <algorithm>
#include <array>

#include "input/case_fields.h"
#include "input/hf_config.h"
#include "input/hf_families.h"
#include "input/peft_config.h"
#include "input/trace_parallel.h"
#include "input/version.h"

namespace memplan {
namespace {

Error not_modelled(const JsonNode& node, std::string problem) {
  return node.error(std::move(problem), "", ErrorKind::not_modelled);
}

void read_config(const JsonNode& node, TraceDraft& draft) {
  const JsonNode type = node.at("model_type");
  const std::string name = type.text();
  if (find_hf_family(name) == nullptr)
    throw not_modelled(type, "model_type '" + printable(name) + "' is not modelled");
  draft.job.model = read_hf_config(node, node.where());
}

void read_id(const JsonNode&, TraceDraft&) {}
void read_batch(const JsonNode& node, TraceDraft& draft) {
  draft.job.strategy.micro_batch = node.count();
}
void read_seq(const JsonNode& node, TraceDraft& draft) {
  draft.job.strategy.sequence = node.count();
}
void read_weights(const JsonNode& node, TraceDraft& draft) {
  draft.weights = parse_dtype(node.text(), node.where());
}
void read_autocast(const JsonNode& node, TraceDraft& draft) {
  if (!node.is_null()) draft.autocast = parse_dtype(node.text(), node.where());
}
// torchtitan's.
void read_release(const JsonNode& node, TraceDraft& draft) {
  draft.job.strategy.torchtitan = parse_version(node.text(), node.where());
}
void read_program(const JsonNode& node, TraceDraft& draft) {
  if (node.is_null()) return;
  Job& job = draft.job;
  job.strategy.framework = name_or_refuse<Framework>(node, "program");
  job.model.implementation = implementation_of(job.strategy.framework);
}
void read_attention(const JsonNode& node, TraceDraft& draft) {
  draft.job.strategy.attention = name_or_refuse<AttentionKind>(node, "attention");
}
void read_checkpoint(const JsonNode& node, TraceDraft& draft) {
  Strategy& s = draft.job.strategy;
  if (node.is_boolean()) {
    s.recompute = node.boolean() ? Recompute::full : Recompute::none;
  } else if (node.is_text()) {
    node.one_of({"op"});
    s.recompute = Recompute::selective;
  } else {
    s.recompute = Recompute::full;
    s.recompute_every = node.count();
  }
}
void read_dropout(const JsonNode& node, TraceDraft& draft) { draft.dropout = node.boolean(); }
void read_padding_mask(const JsonNode& node, TraceDraft& draft) {
  draft.job.strategy.padding_mask = node.boolean();
}
void read_keep_outputs(const JsonNode& node, TraceDraft& draft) {
  draft.job.strategy.keep_outputs = node.boolean();
}
void read_clip(const JsonNode& node, TraceDraft& draft) {
  draft.job.strategy.clip_gradients = node.boolean();
}
void read_micro_batches(const JsonNode& node, TraceDraft& draft) {
  draft.micro_batches = node.count();
}

void read_optimizer(const JsonNode& node, TraceDraft& draft) {
  const auto name = node.is_null() ? std::nullopt : node.find("name");
  Strategy& s = draft.job.strategy;
  s.optimizer_impl = OptimizerImpl::automatic;
  s.optimizer = OptimizerKind::none;
  if (!name || name->is_null()) return;
  refuse_unknown_keys(node, {"name", "impl"});
  s.optimizer = name_or_refuse<OptimizerKind>(*name, "optimizer");
  if (s.optimizer == OptimizerKind::lomo || s.optimizer == OptimizerKind::adalomo) return;
  s.optimizer_impl = OptimizerImpl::foreach_;
  if (const auto impl = node.find("impl"))
    s.optimizer_impl = name_or_refuse<OptimizerImpl>(*impl, "optimizer implementation");
  // torch.optim.Adafactor has no fused kernel; the tracer passes foreach=False then.
  if (s.optimizer == OptimizerKind::adafactor && s.optimizer_impl == OptimizerImpl::fused)
    s.optimizer_impl = OptimizerImpl::forloop;
}

void read_optimizer_in_backward(const JsonNode& node, TraceDraft& draft) {
  draft.job.strategy.optimizer_in_backward = node.boolean();
}

// "lora" -> PeftType "LORA".
std::string peft_type(std::string name) {
  for (char& c : name)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return name;
}

// trace_programs.py: the program's own words.
void read_program_peft(const JsonNode& node, Implementation program, PeftSpec& peft) {
  const JsonNode method = node.at("method");
  const bool torchtune = program == Implementation::torchtune;
  if (method.text() == "lora") {
    refuse_unknown_keys(node, {"method", "r", "lora_alpha", "lora_dropout", "targets"});
    peft = make_peft(torchtune ? PeftKind::torchtune_lora : PeftKind::litgpt_lora);
    peft.rank = node.at("r").count();
    if (const auto dropout = node.find("lora_dropout")) peft.dropout = dropout->probability();
    for (const JsonNode& target : node.at("targets").items()) peft.targets.push_back(target.text());
    return;
  }
  refuse_unknown_keys(node, {"method"});
  if (torchtune)
    throw not_modelled(method,
                       "torchtune's method '" + printable(method.text()) + "' is not modelled");
  if (method.text() == "adapter")
    peft = make_peft(PeftKind::litgpt_adapter);
  else if (method.text() == "adapter_v2")
    peft = make_peft(PeftKind::litgpt_adapter_v2);
  else
    throw not_modelled(method,
                       "litgpt's method '" + printable(method.text()) + "' is not modelled");
}

void read_peft(const JsonNode& node, TraceDraft& draft) {
  if (node.is_null()) return;
  if (draft.job.model.implementation != Implementation::transformers)
    return read_program_peft(node, draft.job.model.implementation, draft.job.strategy.peft);
  const auto method = node.find("method");
  draft.job.strategy.peft =
      read_peft_method(node, method ? peft_type(method->text()) : "LORA", method.value_or(node));
}

void read_quantization(const JsonNode& node, TraceDraft& draft) {
  if (node.is_null()) return;
  refuse_unknown_keys(node, {"kind", "double_quant", "prepare", "compute", "storage"});
  Quantization& quantization = draft.job.strategy.quantization;
  quantization.kind = name_or_refuse<QuantKind>(node.at("kind"), "quantization");
  if (const auto twice = node.find("double_quant")) quantization.double_quant = twice->boolean();
  const auto prepare = node.find("prepare");
  quantization.prepared = prepare && prepare->boolean();
  if (const auto compute = node.find("compute"))
    quantization.compute = parse_dtype(compute->text(), compute->where());
  if (const auto storage = node.find("storage"))
    quantization.storage = parse_dtype(storage->text(), storage->where());
}

void read_loss(const JsonNode& node, TraceDraft& draft) {
  if (node.is_null()) return;
  refuse_unknown_keys(node, {"name", "chunks"});
  Strategy& s = draft.job.strategy;
  s.loss = name_or_refuse<LossKind>(node.at("name"), "loss");
  if (const auto chunks = node.find("chunks")) s.loss_chunks = chunks->count();
}

void read_kernels(const JsonNode& node, TraceDraft& draft) {
  if (!node.is_null()) draft.job.strategy.kernels = name_or_refuse<KernelKind>(node, "kernels");
}

void read_trainable(const JsonNode& node, TraceDraft& draft) {
  if (node.is_null()) return;
  Trainable& trainable = draft.job.strategy.trainable;
  const JsonNode kind = node.at("kind");
  if (kind.text() == "bias") {
    refuse_unknown_keys(node, {"kind"});
    trainable = {Trainable::Kind::bias, 0};
  } else if (kind.text() == "last_layers") {
    refuse_unknown_keys(node, {"kind", "layers"});
    trainable = {Trainable::Kind::last_layers, node.at("layers").count()};
  } else {
    throw not_modelled(kind, "trainable kind '" + printable(kind.text()) + "' is not modelled");
  }
}

void read_packed(const JsonNode& node, TraceDraft& draft) {
  draft.job.strategy.packed = node.boolean();
}

void read_offload(const JsonNode& node, TraceDraft& draft) {
  draft.job.strategy.offload_activations = node.boolean();
}

struct CaseKey {
  std::string_view key;
  void (*read)(const JsonNode&, TraceDraft&);
};
constexpr auto kKeys =
    std::to_array<CaseKey>({{"id", read_id},
                            {"mode", read_id},
                            {"config", read_config},
                            {"batch", read_batch},
                            {"seq", read_seq},
                            {"weights", read_weights},
                            {"autocast", read_autocast},
                            {"attention", read_attention},
                            {"checkpoint", read_checkpoint},
                            {"dropout", read_dropout},
                            {"padding_mask", read_padding_mask},
                            {"keep_outputs", read_keep_outputs},
                            {"optimizer", read_optimizer},
                            {"optimizer_in_backward", read_optimizer_in_backward},
                            {"clip", read_clip},
                            {"micro_batches", read_micro_batches},
                            {"program", read_program},
                            {"release", read_release},
                            {"peft", read_peft},
                            {"quantization", read_quantization},
                            {"loss", read_loss},
                            {"kernels", read_kernels},
                            {"trainable", read_trainable},
                            {"packed", read_packed},
                            {"offload", read_offload},
                            {"parallel", read_trace_parallel}});

// The tracer's DEFAULTS, where they are not memplan's.
TraceDraft defaults() {
  TraceDraft draft;
  Strategy& s = draft.job.strategy;
  s.framework = Framework::huggingface;
  s.sequence = 512;
  s.attention = AttentionKind::sdpa;
  s.keep_outputs = true;
  s.optimizer_impl = OptimizerImpl::foreach_;
  return draft;
}

Job read_job(const JsonNode& line, const JsonNode& given) {
  std::vector<std::string_view> known;
  for (const CaseKey& key : kKeys) known.push_back(key.key);
  refuse_unknown_keys(given, known);
  given.at("config");
  TraceDraft draft = defaults();
  for (const CaseKey& key : kKeys)
    if (const auto value = given.find(key.key)) key.read(*value, draft);

  Job& job = draft.job;
  Strategy& s = job.strategy;
  job.model.name = line.at("id").text();
  // The tracer's task_type().
  if (s.peft.kind != PeftKind::none && job.model.head == ModelHead::sequence_classification)
    add_task_modules("SEQ_CLS", s.peft);
  if (!draft.dropout) job.model.dropout = {};
  fill_default_targets(s.peft, job.model.family, line.where());
  s.precision = plain_precision(draft.weights, draft.autocast);
  if (s.framework == Framework::deepspeed && size_of(draft.weights) == 2)
    s.precision.master = s.precision.optimizer = DType::f32;
  if (draft.accumulated) s.precision.gradient = *draft.accumulated;
  if (!s.quantization.compute) s.quantization.compute = draft.weights;
  s.global_batch = product({s.micro_batch, s.dp, draft.micro_batches});
  place_on_any_gpu(job);
  if (const auto torch = line.find("torch")) s.torch = parse_version(torch->text(), torch->where());
  if (const auto library = line.find("peft"))
    s.peft.version = parse_version(library->text(), library->where());
  if (const auto library = line.find("transformers"))
    s.transformers = parse_version(library->text(), library->where());
  return job;
}

int64_t bytes(const JsonNode& node) { return node.count(0, int64_t{1} << 62); }

// Whether a rank holds other bytes of parameters than their number tells.
bool divides_parameters(const JsonNode& given) {
  const auto plan = given.find("parallel");
  const auto kind = plan ? plan->find("kind") : std::nullopt;
  return kind && (kind->text() == "fsdp1" || kind->text() == "fsdp2" ||
                  kind->text() == "deepspeed" || kind->text() == "tp");
}

std::vector<Measurement> read_figures(const JsonNode& line) {
  std::vector<Measurement> out = {{"parameters", bytes(line.at("parameters"))},
                                  {"trainable", bytes(line.at("trainable"))}};
  const JsonNode held = line.at("categories");
  for (const char* key : {"optimizer", "activations"}) out.push_back({key, bytes(held.at(key))});
  const auto own = held.find("parameters");
  if (own && divides_parameters(line.at("case"))) out.push_back({"held.parameters", bytes(*own)});
  const JsonNode peaks = line.at("peak");
  const JsonNode operators = line.at("peak_at");
  for (const char* phase : {"forward", "backward", "step"}) {
    out.push_back({std::string("peak.") + phase, bytes(peaks.at(phase))});
    out.push_back({std::string("peak_at.") + phase, operators.at(phase).text()});
  }
  if (const auto phases = line.find("phases"))
    for (std::string_view phase : phases->keys())
      out.push_back({"phase." + std::string(phase), bytes(phases->at(phase))});
  return out;
}

// What torch.cuda counted and the driver saw: the answers of `fit`.
void add_cuda_figures(const JsonNode& cuda, std::vector<Measurement>& out) {
  const int64_t reserved = bytes(cuda.at("reserved"));
  out.push_back({"cuda.allocated", bytes(cuda.at("allocated"))});
  out.push_back({"cuda.reserved", reserved});
  out.push_back({"cuda.device", checked_add(reserved, bytes(cuda.at("outside_allocator")))});
}

// The GPU that the driver names; one that is no preset counts by its memory.
void place_on_device(const JsonNode& cuda, Job& job) {
  const auto device = cuda.find("device");
  if (!device) return;
  try {
    job.cluster.gpu = find_gpu(device->text());
  } catch (const Error&) {
    job.cluster.gpu = custom_gpu(Bytes(bytes(cuda.at("device_total"))));
  }
}

}  // namespace

bool is_trace(const JsonNode& line) { return line.find("case") && line.find("mode"); }

MeasuredCase read_trace(const JsonNode& line) {
  MeasuredCase out;
  const JsonNode given = line.at("case").require_object();
  const std::string mode = line.at("mode").one_of({"fake", "cpu", "cuda"});
  out.id = line.at("id").text();
  out.source = "trace " + mode;
  out.where = line.where();

  const auto cuda = line.find("cuda");
  const auto oom = cuda ? cuda->find("oom") : std::nullopt;
  if (oom && oom->boolean()) {
    out.refused = "the step ran out of memory: nothing was measured";
    return out;
  }
  out.figures = read_figures(line);
  for (Measurement& figure : out.figures) figure.answered = Answered::by_step;
  if (mode == "cuda") add_cuda_figures(line.at("cuda"), out.figures);
  try {
    out.job = read_job(line, given);
    out.job->backend = mode == "cuda" ? Backend::cuda : Backend::cpu;
    out.job->fake_tensors = mode == "fake";
    const auto seen = line.find("resizes_seen");
    out.job->resizes_seen = mode == "cuda" || (seen && seen->boolean());
    if (mode == "cuda") place_on_device(line.at("cuda"), *out.job);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::not_modelled) throw;
    out.refused = error.problem();
  }
  return out;
}

}  // namespace memplan
