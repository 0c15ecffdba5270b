// torchtune's layers by pencil; to the byte of PyTorch:
// tests/reference/torch_traces_torchtune.jsonl.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "cost/eager.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr int64_t kHidden = 64, kHeads = 8, kFfn = 176, kVocab = 320, kSequence = 48;
constexpr int64_t kTokens = 2 * kSequence;

Job torchtune(int64_t layers) {
  Job job;
  ModelSpec& m = job.model;
  m.name = m.family = "llama";
  m.implementation = Implementation::torchtune;
  m.hidden = kHidden;
  m.layers = layers;
  m.heads = m.kv_heads = kHeads;
  m.head_dim = kHidden / kHeads;
  m.ffn = kFfn;
  m.vocab = kVocab;
  m.max_positions = 512;
  m.activation = "silu";
  m.gated_mlp = true;
  Strategy& s = job.strategy;
  s.framework = Framework::torchtune;
  s.precision = parse_precision("bf16", "--precision");
  s.attention = AttentionKind::sdpa;
  s.loss = LossKind::torchtune_chunked;
  s.torch = {2, 5, 1};
  s.sequence = kSequence;
  s.micro_batch = s.global_batch = 2;
  return job;
}

template <typename Change>
int64_t layer_keeps(Change change) {
  const auto held = [&](int64_t layers) {
    Job job = torchtune(layers);
    change(job.strategy);
    return eager_step(job).activations;
  };
  return (held(6) - held(5)).count();
}

TEST_CASE("a torchtune layer keeps 24h + 8f + 4·heads + 8 bytes a token") {
  // A norm: the input in fp32, a reciprocal root, the normalised input, the result. Attention: q,
  // k, v, the output and its statistics; the embedding of positions keeps views of its cache. The
  // MLP keeps 4f.
  const int64_t expected = 2 * (8 * kHidden + 4) + 8 * kHidden + 4 * kHeads + 8 * kFfn;
  CHECK(layer_keeps([](Strategy&) {}) == expected * kTokens + 24);  // and the generator's state
}

TEST_CASE("a checkpointed layer keeps its input, an offloaded one nothing on the GPU") {
  CHECK(layer_keeps([](Strategy& s) { s.recompute = Recompute::full; }) == 2 * kHidden * kTokens);
  CHECK(layer_keeps([](Strategy& s) {
          s.recompute = Recompute::full;
          s.offload_activations = true;
        }) == 0);
}

TEST_CASE("the compiled loss keeps the narrow logits in the place of wide probabilities") {
  Job job = torchtune(2);
  job.strategy.recompute = Recompute::full;
  const Bytes eager = eager_step(job).activations;
  job.strategy.compile = true;
  // Each row's highest logit and logarithm of the sum; no weight of each chunk's loss.
  const int64_t row = 2 * kVocab - 2 * 4;
  const int64_t less = (eager - eager_step(job).activations).count();
  CHECK(less == row * kTokens + job.strategy.loss_chunks * 4);
}

TEST_CASE("torch.compile of checkpointed layers leaves certain what lives outside of them") {
  Job job = torchtune(2);
  job.model.vocab = 64 * kVocab;  // its gradient is the peak
  job.strategy.recompute = Recompute::full;
  job.strategy.compile = true;
  const EagerStep step = eager_step(job);
  CHECK(step.certain == std::max(step.forward.bytes, step.backward.bytes));
}

TEST_CASE("packed samples are told apart by flex attention from torch 2.5 on, by a mask before") {
  Job job = torchtune(2);
  job.strategy.packed = true;
  const Bytes flex = eager_step(job).inputs;
  job.strategy.torch = {2, 4, 1};
  const int64_t plain = 2 * 8 * kTokens;  // tokens and labels
  CHECK(eager_step(job).inputs.count() == plain + 8 * kTokens + kTokens * kSequence);
  CHECK(flex.count() == plain + 2 * 8 * kTokens + 4 * (4 * 2 * (1 + 1)));
}

TEST_CASE("what torchtune does not do is refused by name") {
  const auto refused = [](const Job& job, const char* what) {
    CHECK_THROWS_WITH_AS(eager_step(job), doctest::Contains(what), Error);
  };
  Job job = torchtune(2);
  job.strategy.sequence = 513;
  refused(job, "512 tokens at most");
  job = torchtune(2);
  job.strategy.compile = job.strategy.offload_activations = true;
  refused(job, "which tensors compiled layers keep");
  job = torchtune(2);
  job.strategy.peft = make_peft(PeftKind::torchtune_lora);
  job.strategy.peft.targets = {"q_proj", "w1"};
  refused(job, "all of w1, w2 and w3 or none");
  job = torchtune(2);
  job.model.attention_bias = true;
  refused(job, "has no such biases");
}

}  // namespace
}  // namespace memplan
