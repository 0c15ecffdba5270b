#include "cost/operator_peak.h"

#include <doctest/doctest.h>

namespace memplan {
namespace {

using Kind = OperatorBench::Kind;

OperatorBench bench(Kind kind, bool liger) {
  OperatorBench out;
  out.kind = kind;
  out.liger = liger;
  out.gpu = find_gpu("a100-80g");
  out.tokens = 1024;
  out.width = 256;
  out.inner = 1024;
  out.vocabulary = 4096;
  return out;
}

TEST_CASE("cross-entropy alone: five tensors of logits, or Liger's one") {
  const int64_t logits = 1024 * 4096 * 4, labels = 1024 * 8;
  // x, its gradient, log-probabilities, the gradients of the two operators; the loss and its own
  CHECK(operator_peak(bench(Kind::cross_entropy, false)).count() == 5 * logits + labels + 2 * 512);
  const int64_t liger = operator_peak(bench(Kind::cross_entropy, true)).count();
  CHECK(liger > logits + labels);
  CHECK(liger < logits + 4 * labels);
}

TEST_CASE("Liger's layer_norm alone: a row for each multiprocessor") {
  const int64_t eager = operator_peak(bench(Kind::layer_norm, false)).count();
  const int64_t liger = operator_peak(bench(Kind::layer_norm, true)).count();
  // two buffers of partial sums, and while the second is summed the sums themselves
  CHECK(liger - eager >= 2 * 108 * 256 * 4 - 2 * 256 * 4);
  CHECK(liger - eager <= 2 * 108 * 256 * 4 + 2 * 256 * 4);
}

TEST_CASE("matrix products bring two workspaces of 8.125 MiB") {
  OperatorBench one = bench(Kind::fused_linear_cross_entropy, false);
  const int64_t on_ampere = operator_peak(one).count();
  one.gpu = find_gpu("h100-80g");
  CHECK(operator_peak(one).count() - on_ampere == 2 * ((32 << 20) - (8 << 20) - (1 << 17)));
}

}  // namespace
}  // namespace memplan
