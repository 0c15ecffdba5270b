// What PEFT's forwards keep for each layer, by pencil. BEFT on the same module is the zero: adding
// its bias keeps nothing.
#include "lower/huggingface/peft.h"

#include <doctest/doctest.h>

#include <string>

#include "cost/eager.h"
#include "input/peft_config.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr int64_t kHidden = 64, kHeads = 64, kKeys = 16, kBatch = 2, kSequence = 48;
constexpr int64_t kTokens = kBatch * kSequence, kFloat = 4;

Job job_of(const std::string& peft, int64_t layers) {
  Job job;
  job.backend = Backend::cpu;
  ModelSpec& m = job.model;
  m.name = m.family = "llama";
  m.hidden = kHidden;
  m.layers = layers;
  m.heads = 8;
  m.kv_heads = 2;
  m.head_dim = 8;
  m.ffn = 176;
  m.vocab = 320;
  m.max_positions = 512;
  m.activation = "silu";
  m.gated_mlp = true;
  Strategy& s = job.strategy;
  s.framework = Framework::huggingface;
  s.precision = parse_precision("bf16", "--precision");
  s.attention = AttentionKind::sdpa;
  s.sequence = kSequence;
  s.micro_batch = s.global_batch = kBatch;
  s.peft = parse_peft(peft);
  fill_default_targets(s.peft, "llama");
  return job;
}

int64_t layer_bytes(const std::string& peft, int64_t sequence = kSequence) {
  const auto held = [&](int64_t layers) {
    Job job = job_of(peft, layers);
    job.strategy.sequence = sequence;
    return eager_step(job).activations.count();
  };
  return held(4) - held(3);
}

int64_t beyond_bias(const std::string& peft) {
  return layer_bytes(peft) - layer_bytes("beft:targets=q_proj");
}

TEST_CASE("what each method keeps of a layer whose q_proj it adapts") {
  // A's input as fp32 and its output.
  CHECK(beyond_bias("lora:r=4,targets=q_proj") == (kHidden + 4) * kFloat * kTokens);
  // The sums of blocks alone.
  CHECK(beyond_bias("miss:r=16,targets=q_proj") == 16 * kFloat * kTokens);
  // The input as fp32; the kernel is a parameter.
  CHECK(beyond_bias("c3a:block_size=8,targets=q_proj") == kHidden * kFloat * kTokens);
  // The input as fp32 and the scaled weight.
  CHECK(beyond_bias("hira:r=4,targets=q_proj") == (kHidden * kTokens + kHidden * kHeads) * kFloat);
  // x·Aᵀ and R: A and B are frozen.
  CHECK(beyond_bias("tinylora:r=2,u=4,targets=q_proj") == (2 * kTokens + 2 * 2) * kFloat);
}

TEST_CASE("virtual tokens before the input are tokens") {
  CHECK(layer_bytes("prompt-tuning:num_virtual_tokens=16", kSequence) ==
        layer_bytes("prompt-tuning:num_virtual_tokens=4", kSequence + 12));
  CHECK(layer_bytes("p-tuning:num_virtual_tokens=16") ==
        layer_bytes("prompt-tuning:num_virtual_tokens=16"));
}

TEST_CASE("a prefix lengthens every layer's keys and values, repeated to all heads") {
  const auto bytes = [](int tokens) {
    return layer_bytes("prefix-tuning:num_virtual_tokens=" + std::to_string(tokens));
  };
  // and the layer's mask, [b, 1, s, keys]
  CHECK(bytes(24) - bytes(16) == 8 * (kBatch * 2 * kHeads + kTokens) * size_of(DType::bf16));
}

TEST_CASE("AdaLoRA trains the rank counts that peft 0.21 casts") {
  Job job = job_of("adalora:r=4,targets=q_proj", 3);
  const int64_t with = eager_step(job).trainable;
  job.strategy.peft.version = {0, 19, 2};
  CHECK(with - eager_step(job).trainable == 3);
}

TEST_CASE("LoRA on the embedding looks A's columns up") {
  // B's input, [tokens, r] in fp32
  const auto bytes = [](int rank) {
    const std::string r = std::to_string(rank);
    return eager_step(job_of("lora:r=" + r + ",targets=embed_tokens", 2)).activations.count();
  };
  CHECK(bytes(8) - bytes(4) == 4 * kFloat * kTokens);
}

TEST_CASE("methods without a forward are refused by name") {
  CHECK_THROWS_WITH_AS(eager_step(job_of("osf:targets=q_proj", 2)), doctest::Contains("osf"),
                       Error);
  CHECK_THROWS_WITH_AS(
      eager_step(job_of("p-tuning:num_virtual_tokens=4,encoder_reparameterization_type=LSTM", 2)),
      doctest::Contains("LSTM"), Error);
}

}  // namespace
}  // namespace memplan
