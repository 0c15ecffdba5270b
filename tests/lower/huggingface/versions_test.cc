// What moved between releases of transformers, by pencil.
#include "lower/huggingface/versions.h"

#include <doctest/doctest.h>

#include <string>

#include "cost/eager.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr int64_t kBatch = 2, kSequence = 48, kHidden = 64, kVocab = 320, kLayers = 3;

Job llama(Version transformers) {
  Job job;
  ModelSpec& m = job.model;
  m.name = m.family = "llama";
  m.hidden = kHidden;
  m.layers = kLayers;
  m.heads = m.kv_heads = 8;
  m.head_dim = 8;
  m.ffn = 176;
  m.vocab = kVocab;
  m.max_positions = 512;
  m.activation = "silu";
  Strategy& s = job.strategy;
  s.framework = Framework::huggingface;
  s.precision = parse_precision("bf16", "--precision");
  s.attention = AttentionKind::sdpa;
  s.sequence = kSequence;
  s.micro_batch = s.global_batch = kBatch;
  s.transformers = transformers;
  s.keep_outputs = true;
  return job;
}

EagerStep step(Version transformers) { return eager_step(llama(transformers)); }

TEST_CASE("4.49 pads labels where 4.48 copies all logits but the last, in fp32") {
  const EagerStep copied = step({4, 48, 3}), padded = step({4, 49, 0});
  const int64_t row = kBatch * kVocab * 4, labels = kBatch * 8;
  // What stays: log_softmax of s - 1 tokens instead of s, and as many labels.
  CHECK(padded.activations.count() - copied.activations.count() == row + labels);
  // At the peak the copy is there too, and on the other side the padded labels, s + 1.
  CHECK(copied.forward.bytes.count() - padded.forward.bytes.count() ==
        (kSequence - 1) * row - row - labels - (kSequence + 1) * labels);
}

TEST_CASE("before 4.46 the model's logits are fp32") {
  const Bytes inside = step({4, 46, 0}).activations, outside = step({4, 45, 2}).activations;
  CHECK((outside - inside).count() == kBatch * kSequence * kVocab * 2);
}

TEST_CASE("from 4.48 to 4.55 queries are copied: a kernel's output like them is copied again") {
  const int64_t output = kLayers * kBatch * kSequence * kHidden * 2;
  CHECK((step({4, 48, 0}).activations - step({4, 47, 1}).activations).count() == output);
  CHECK((step({4, 55, 4}).activations - step({4, 56, 0}).activations).count() == output);
}

TEST_CASE("each layer held inv_freq once, and 5.0 holds it twice") {
  const int64_t frequencies = 4 * 4;
  CHECK(step({4, 47, 1}).buffers == Bytes((kLayers + 1) * frequencies));
  CHECK(step({4, 57, 1}).buffers == Bytes(frequencies));
  CHECK(step({5, 0, 0}).buffers == Bytes(2 * frequencies));
}

// LLaMA of mid-2023, by bytes of one layer: its tensors of a sample's tokens, and its scores.
Job first_llama(Recompute recompute = Recompute::none) {
  Job job = llama({4, 30, 2});
  job.strategy.torch = {2, 0, 1};
  job.strategy.attention = AttentionKind::unfused;
  job.strategy.recompute = recompute;
  return job;
}

TEST_CASE("4.30: each layer keeps scores three times and its norms' inputs in fp32") {
  Job two = first_llama(), three = first_llama();
  two.model.layers = 2;
  three.model.layers = 3;
  const int64_t tokens = kBatch * kSequence, n = tokens * kHidden;
  const int64_t scores = kBatch * 8 * kSequence * kSequence;
  const int64_t norm = 4 * n + 4 * n + 4 * tokens  // widened input, its square, reciprocals
                       + 4 * n + 2 * n;            // normed in fp32, and what linear layers read
  const int64_t attention = 3 * 2 * n + 2 * 8 * kSequence * 2  // q, k, v; rows of cos and sin
                            + (2 + 4 + 2) * scores + 4         // clamped, softmax, narrowed; bound
                            + 2 * n;                           // what o_proj reads
  const int64_t mlp = 4 * 2 * tokens * 176;
  const int64_t residuals = 2 * 2 * n;
  CHECK((eager_step(three).activations - eager_step(two).activations).count() ==
        2 * norm + attention + mlp + residuals);
  // What torch 2.1 no longer keeps is the mean's input.
  Job later = first_llama();
  later.strategy.torch = {2, 1, 0};
  CHECK((eager_step(first_llama()).activations - eager_step(later).activations).count() ==
        (2 * kLayers + 1) * 4 * n);
}

TEST_CASE("4.30: each layer holds cos and sin of all positions") {
  CHECK(eager_step(first_llama()).buffers == Bytes(kLayers * (4 + 2 * 512 * 8) * 4));
}

TEST_CASE("4.30: a layer checkpointed reentrantly keeps its input alone") {
  Job two = first_llama(Recompute::full), three = two;
  two.model.layers = 2;
  const EagerStep short_one = eager_step(two), long_one = eager_step(three);
  CHECK((long_one.activations - short_one.activations).count() == 2 * kBatch * kSequence * kHidden);
  // Its second forward runs to the end, and all of it is there when its backward starts.
  Job plain = first_llama();
  plain.model.layers = 1;
  CHECK(long_one.backward.bytes > eager_step(plain).activations);
}

TEST_CASE("what was not traced with older models is refused with them") {
  const auto refused = [](void (*change)(Strategy&), Version version) {
    Job job = llama(version);
    change(job.strategy);
    try {
      hf::require_modelled_release(job);
    } catch (const Error&) {
      return true;
    }
    return false;
  };
  const auto check = [&](void (*change)(Strategy&)) {
    CHECK(refused(change, {4, 57, 1}));
    CHECK_FALSE(refused(change, {5, 0, 0}));
  };
  check([](Strategy& s) { s.attention = AttentionKind::flash; });
  check([](Strategy& s) { s.kernels = KernelKind::liger; });
  check([](Strategy& s) { s.quantization.kind = QuantKind::nf4; });
  check([](Strategy& s) { s.peft.kind = PeftKind::prefix_tuning; });
}

TEST_CASE("a release that is not modelled is refused with the nearest that is") {
  const auto refusal = [](const char* family, Version version) {
    Job job = llama(version);
    job.model.family = family;
    std::string hint;
    try {
      hf::require_modelled_release(job);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::not_modelled);
      hint = error.hint();
    }
    return hint;
  };
  CHECK(refusal("llama", {4, 44, 0}) == "");
  CHECK(refusal("llama", {4, 43, 4}).find("4.44.0") != std::string::npos);
  CHECK(refusal("llama", {4, 30, 2}).find("4.44.0") != std::string::npos);  // with sdpa
  hf::require_modelled_release(first_llama());
  CHECK(refusal("gemma2", {4, 52, 4}).find("4.53.0") != std::string::npos);
  CHECK(refusal("mixtral", {4, 57, 1}).find("5.0.0") != std::string::npos);
}

}  // namespace
}  // namespace memplan
