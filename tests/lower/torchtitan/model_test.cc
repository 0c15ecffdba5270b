// torchtitan's layers by pencil; to the byte of PyTorch:
// tests/reference/torch_traces_torchtitan.jsonl.
#include <doctest/doctest.h>

#include "cost/eager.h"
#include "memplan/error.h"
#include "titan_job.h"

namespace memplan {
namespace {

using titan::kFfn;
using titan::kHeads;
using titan::kHidden;
using titan::kTokens;

constexpr int64_t kGenerator = 2 * 8;  // cuDNN's attention keeps a seed and an offset

template <typename Change>
int64_t layer_keeps(Change change) {
  const auto held = [&](int64_t layers) {
    Job job = titan::job(layers);
    change(job.strategy);
    return eager_step(job).activations;
  };
  return (held(6) - held(5)).count();
}

TEST_CASE("a torchtitan layer keeps 16h + 8f + 4·heads + 8 bytes a token") {
  // A norm: its input, a reciprocal root, the result: 4h + 4. Attention: q, k, v, the output and
  // its statistics. The MLP: two projections, the activation, the product.
  const int64_t expected = 2 * (4 * kHidden + 4) + 8 * kHidden + 4 * kHeads + 8 * kFfn;
  CHECK(layer_keeps([](Strategy&) {}) == expected * kTokens + kGenerator);
}

TEST_CASE(
    "checkpointed by operator, it keeps every second matrix product and attention's results") {
  // Beside its input those of wq, wv, w1 and w2.
  const int64_t expected = 2 * kHidden + 3 * 2 * kHidden + 2 * kFfn + 2 * kHidden + 4 * kHeads;
  CHECK(layer_keeps([](Strategy& s) { s.recompute = Recompute::selective; }) ==
        expected * kTokens + kGenerator);
}

TEST_CASE("checkpointed whole, it keeps its input") {
  CHECK(layer_keeps([](Strategy& s) { s.recompute = Recompute::full; }) == 2 * kHidden * kTokens);
}

TEST_CASE("norm and head stay gathered for backward, the embedding does not") {
  Job job = titan::job(2);
  const Bytes registered = eager_step(job).registered;
  job.strategy.fsdp.root_after_forward = std::nullopt;  // always
  const int64_t whole = (1 + titan::kVocab) * kHidden;
  CHECK((registered - eager_step(job).registered).count() == whole * 2 - whole / 8 * 4);
}

TEST_CASE("freqs_cis is complex64 of the sequence") {
  const Job job = titan::job(2);
  CHECK(eager_step(job).buffers.count() == titan::kSequence * (kHidden / kHeads / 2) * 8);
}

TEST_CASE("only Llama 3's model is known") {
  Job job = titan::job(2);
  job.model.family = "qwen3";
  CHECK_THROWS_WITH_AS(eager_step(job), doctest::Contains("'qwen3' is not modelled"), Error);
}

}  // namespace
}  // namespace memplan
