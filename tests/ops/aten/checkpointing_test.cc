// Checkpoints that keep some results or run to their end, by pencil.
#include <doctest/doctest.h>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::aten {
namespace {

constexpr int64_t kRows = 8, kWidth = 16, kOne = kRows * kWidth * 4;

struct Run {
  int64_t kept = 0;  ///< after forward, beside the weights and the input
  int products = 0;  ///< that backward makes again
};

Run run(Checkpointing how) {
  Session s(Backend::cuda, {2, 14, 1});
  std::vector<Leaf*> weights;
  for (int i = 0; i < 3; ++i) weights.push_back(&s.leaf({kWidth, kWidth}, DType::f32, true, 1));
  Tensor x = allocate(s, {kRows, kWidth}, DType::f32);
  const int64_t before = s.ledger.live();
  int forwards = 0, made = 0;
  Tensor loss;
  {
    const auto body = [&, weights] {
      ++forwards;
      Tensor h = x;
      for (const Leaf* w : weights) {
        const int64_t live = s.ledger.live();
        h = linear(h, w->value, {});
        if (forwards == 2 && s.ledger.live() > live) ++made;
      }
      return add_scalar(h);
    };
    const Tensor out = checkpoint(s, x, body, std::move(how));
    loss = sum(out);
  }
  Run result{s.ledger.live() - before - 4, 0};
  run_backward(s, loss);
  result.products = made;
  return result;
}

TEST_CASE("a checkpoint keeps nothing but its input") {
  const Run plain = run({});
  CHECK(plain.kept == 0);
  CHECK(plain.products == 2);  // the third keeps its input before it would run
}

TEST_CASE("one that does not stop early runs to its end") {
  CHECK(run({.stops_early = false}).products == 3);
}

TEST_CASE("kept results are not made again") {
  const auto first = [n = 0](std::string_view) mutable { return n++ == 0; };
  const Run selective = run({.stops_early = false, .saves = first});
  CHECK(selective.kept == kOne);
  CHECK(selective.products == 2);
}

}  // namespace
}  // namespace memplan::aten
