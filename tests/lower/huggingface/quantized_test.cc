// Which parameters bitsandbytes stores, what dtype the others have, and what cannot be done.
#include "lower/huggingface/quantized.h"

#include <doctest/doctest.h>

#include "cost/eager.h"
#include "memplan/error.h"

namespace memplan {
namespace {

Job quantized_job(const char* family, QuantKind kind, int64_t layers = 2) {
  Job job;
  ModelSpec& m = job.model;
  m.name = m.family = family;
  m.hidden = 64;
  m.layers = layers;
  m.heads = m.kv_heads = 8;
  m.head_dim = 8;
  m.ffn = 176;
  m.vocab = 320;
  m.max_positions = 512;
  m.type_vocab = 2;
  m.activation = "gelu";
  Strategy& s = job.strategy;
  s.framework = Framework::huggingface;
  s.precision = parse_precision("bf16", "--precision");
  s.attention = AttentionKind::sdpa;
  s.sequence = 48;
  s.micro_batch = s.global_batch = 2;
  s.quantization.kind = kind;
  s.peft.kind = PeftKind::lora;
  s.peft.rank = 4;
  s.peft.targets = {"q_proj", "v_proj"};
  return job;
}

Job bert_job(QuantKind kind, int64_t layers = 2) {
  Job job = quantized_job("bert", kind, layers);
  job.model.head = ModelHead::masked_lm;
  job.model.tie_embeddings = true;
  job.strategy.peft.targets = {"query", "value"};
  return job;
}

// q, k, v, o [64, 64]; gate, up, down [176, 64]: four bits an element and an fp32 scale for 64.
constexpr int64_t kMatrices = 4 * 64 * 64 + 3 * 176 * 64;
constexpr int64_t kNf4Layer = kMatrices / 2 + kMatrices / 64 * 4 + 7 * 16 * 4;
constexpr int64_t kOthers = 2 * 320 * 64 + 64, kNorms = 2 * 64;  // of the ends, of a layer
constexpr int64_t kAdapters = 4 * 4 * 64 * 4;                    // of a layer: fp32

TEST_CASE("norms, embedding and head are fp32 after prepare_model_for_kbit_training") {
  Job job = quantized_job("llama", QuantKind::nf4);
  CHECK(eager_step(job).weights.count() == 2 * (kNf4Layer + kNorms * 4 + kAdapters) + kOthers * 4);
  job.strategy.quantization.prepared = false;
  CHECK(eager_step(job).weights.count() == 2 * (kNf4Layer + kNorms * 2 + kAdapters) + kOthers * 2);
}

TEST_CASE("parameters count as they would unquantized") {
  Job job = quantized_job("llama", QuantKind::nf4);
  const EagerStep quantized = eager_step(job);
  job.strategy.quantization.kind = QuantKind::none;
  CHECK(quantized.parameters == eager_step(job).parameters);
  CHECK(quantized.trainable == eager_step(job).trainable);
}

TEST_CASE("Linear4bit leaves its bias in the dtype of the product, Linear8bitLt does not") {
  // A BERT layer's six biases: q, k, v, output of 64, 176 and 64 again.
  constexpr int64_t kBiases = 5 * 64 + 176;
  for (const auto& [compute, bytes] : {std::pair{DType::bf16, 2}, std::pair{DType::f32, 4}}) {
    Job job = bert_job(QuantKind::fp4);
    job.strategy.quantization.compute = compute;
    const int64_t own = eager_step(job).weights.count();
    job.strategy.quantization.compute = DType::f32;
    CHECK(eager_step(job).weights.count() - own ==
          (2 * kBiases + 64) * (4 - bytes));  // and the head's
  }
}

TEST_CASE("layers walked once for all give what layers walked one by one give") {
  for (const QuantKind kind : {QuantKind::nf4, QuantKind::int8})
    for (const Recompute recompute : {Recompute::none, Recompute::full})
      for (const Backend backend : {Backend::cuda, Backend::cpu})
        for (Job job : {quantized_job("llama", kind, 5), bert_job(kind, 5)}) {
          job.strategy.recompute = recompute;
          job.backend = backend;
          job.strategy.quantization.double_quant = kind == QuantKind::nf4;
          for (const Grain grain : {Grain::requested, Grain::blocks}) {
            const EagerStep folded = eager_step(job, grain);
            const EagerStep unrolled = eager_step(job, grain, Layers::unrolled);
            CHECK(folded.weights == unrolled.weights);
            CHECK(folded.activations == unrolled.activations);
            CHECK(folded.forward.bytes == unrolled.forward.bytes);
            CHECK(folded.backward.bytes == unrolled.backward.bytes);
            CHECK(folded.backward.kept == unrolled.backward.kept);
            CHECK(folded.step.bytes == unrolled.step.bytes);
          }
        }
}

Param linear_weight(const char* name) {
  Param p;
  p.name = name;
  p.linear = true;
  return p;
}

TEST_CASE("classes of a family's own and modules kept in fp32 are left alone") {
  const auto taken = [](const char* family, const char* name) {
    const Job job = quantized_job(family, QuantKind::nf4);
    return hf::quantizes(job.strategy, family_row(job.model), linear_weight(name));
  };
  CHECK(taken("llama", "mlp.down_proj.weight"));
  CHECK_FALSE(taken("falcon", "mlp.dense_4h_to_h.weight"));  // FalconLinear
  CHECK(taken("t5", "layer.1.DenseReluDense.wi.weight"));
  CHECK_FALSE(taken("t5", "layer.1.DenseReluDense.wo.weight"));
  CHECK_FALSE(taken("llama", "score.weight"));  // the model's last parameter
}

TEST_CASE("4-bit products are in the job's 16-bit type, and fp32 weights were once 16 bits") {
  Strategy s = quantized_job("llama", QuantKind::nf4).strategy;
  CHECK(hf::quant_format(s).compute == DType::bf16);
  s.precision = parse_precision("amp-fp16", "--precision");
  CHECK(hf::quant_format(s).compute == DType::f16);
  CHECK(hf::quant_format(s).loaded == DType::f16);
  s.quantization.prepared = false;
  CHECK(hf::quant_format(s).loaded == DType::f32);
}

std::string problem_of(const Job& job) {
  try {
    eager_step(job);
  } catch (const Error& error) {
    return error.problem();
  }
  return "none";
}

TEST_CASE("what PyTorch cannot do with quantized weights is refused") {
  Job job = quantized_job("llama", QuantKind::nf4);
  job.strategy.peft.modules_to_save = {"k_proj"};
  CHECK(problem_of(job).starts_with(
      "modules_to_save names 'self_attn.k_proj.weight', which is quantized"));
  job = quantized_job("llama", QuantKind::nf4);
  job.strategy.peft.kind = PeftKind::loha;
  CHECK(problem_of(job) == "loha on quantized weights is not modelled");
  job.strategy.peft = {};
  CHECK(problem_of(job) == "quantized weights cannot be trained");
  job = quantized_job("llama", QuantKind::int8);
  job.strategy.peft.kind = PeftKind::ia3;
  job.strategy.quantization.prepared = false;
  CHECK(problem_of(job) ==
        "ia3 makes 16-bit results of quantized layers fp32, which attention "
        "does not mix");
}

}  // namespace
}  // namespace memplan
