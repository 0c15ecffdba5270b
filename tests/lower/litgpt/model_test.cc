// litgpt's blocks by pencil; to the byte of PyTorch: tests/reference/torch_traces_programs.jsonl.
#include <doctest/doctest.h>

#include <string>

#include "cost/eager.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr int64_t kHidden = 64, kHeads = 8, kFfn = 176, kSequence = 48, kTokens = 2 * kSequence;

Job litgpt(int64_t layers, PeftKind peft) {
  Job job;
  ModelSpec& m = job.model;
  m.name = m.family = "llama";
  m.implementation = Implementation::litgpt;
  m.hidden = kHidden;
  m.layers = layers;
  m.heads = kHeads;
  m.kv_heads = 2;
  m.head_dim = kHidden / kHeads;
  m.ffn = kFfn;
  m.vocab = 320;
  m.max_positions = 512;
  m.activation = "silu";
  m.gated_mlp = true;
  Strategy& s = job.strategy;
  s.framework = Framework::litgpt;
  s.precision = parse_precision("bf16", "--precision");
  s.attention = AttentionKind::sdpa;
  s.sequence = kSequence;
  s.micro_batch = s.global_batch = 2;
  s.peft = make_peft(peft);
  if (peft == PeftKind::litgpt_lora) s.peft.targets = {"query", "value"};
  return job;
}

int64_t layer_keeps(PeftKind peft) {
  const auto held = [&](int64_t layers) { return eager_step(litgpt(layers, peft)).activations; };
  return (held(6) - held(5)).count();
}

TEST_CASE("a litgpt layer keeps 24h + 8f + 4·heads + 4 bytes a token, grouped heads spread out") {
  // Norms: input and normalised input, and a reciprocal root of 2 bytes. Attention: its input, q,
  // k, v, the output and the copy of it that lies token by token. The MLP: its input and 4f.
  const int64_t expected = (12 + 10 + 2) * kHidden - 2 * kHidden + 8 * kFfn + 4 * kHeads + 4;
  CHECK(layer_keeps(PeftKind::none) == expected * kTokens + 24);  // and the generator's state
}

TEST_CASE("LoRA of queries and values keeps its input twice, two low ranks, B's output, an index") {
  // A frozen layer keeps no input of a linear layer and nothing normalised.
  const int64_t frozen = (4 + 8) * kHidden + 6 * kFfn + 4 * kHeads + 4;
  const int64_t adapted = kHidden + kHidden / 4;  // queries, and values of two heads
  const int64_t mask = kHidden, dropped = 2 * kHidden, low = 2 * 16;
  Job job = litgpt(6, PeftKind::litgpt_lora);
  const auto held = [&](int64_t layers) {
    job.model.layers = layers;
    job.strategy.peft.dropout = 0.05;
    return eager_step(job).activations;
  };
  const int64_t kept = frozen + mask + dropped + low + 2 * adapted;
  // Values and queries have parts of the low rank and of the index's 8 bytes a column.
  CHECK((held(6) - held(5)).count() == kept * kTokens + 8 * adapted + 24);
}

TEST_CASE("rotary tables and the adapters' cached prompts are buffers") {
  const int64_t rope = 2 * kSequence * (kHidden / kHeads) * 4;
  CHECK(eager_step(litgpt(5, PeftKind::litgpt_lora)).buffers == Bytes(rope));
  const int64_t prompts = (5 - 2) * 2 * 10 * kHidden * 2;
  CHECK(eager_step(litgpt(5, PeftKind::litgpt_adapter)).buffers == Bytes(rope + prompts));
}

TEST_CASE("a cached prompt is trained in name alone: it has no states") {
  const EagerStep step = eager_step(litgpt(5, PeftKind::litgpt_adapter));
  CHECK(step.trainable == 3 * (10 * kHidden + kHeads));
  CHECK(step.optimizer.count() == 3 * 2 * kHeads * 2);  // two moments of each gate
}

TEST_CASE("a last chunk of one token has no target") {
  for (const int64_t sequence : {1, 2, 128, 129, 257}) {
    Job job = litgpt(3, PeftKind::litgpt_lora);
    job.strategy.sequence = sequence;
    CHECK(eager_step(job).backward.bytes > Bytes(0));
  }
}

TEST_CASE("what litgpt does not do is refused by name") {
  const auto problem = [](const Job& job) -> std::string {
    try {
      eager_step(job);
    } catch (const Error& error) {
      return error.problem();
    }
    return {};
  };
  Job job = litgpt(3, PeftKind::lora);
  job.strategy.peft.targets = {"attn.proj"};
  CHECK(problem(job) == "litgpt has no lora");
  job = litgpt(3, PeftKind::none);
  job.strategy.loss = LossKind::litgpt_full;
  CHECK(problem(job) == "litgpt computes its loss itself");
  job = litgpt(3, PeftKind::none);
  job.model.family = "gemma";
  CHECK(problem(job) == "litgpt's model of 'gemma' is not modelled");
}

}  // namespace
}  // namespace memplan
