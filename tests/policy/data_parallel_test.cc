#include "policy/data_parallel.h"

#include <doctest/doctest.h>

namespace memplan {
namespace {

constexpr int64_t kM = 1 << 20;

TEST_CASE("flat chunks hold up to 10 MiB of one dtype, or one tensor") {
  // 6 + 4 MiB fill a chunk; 5 begins the next; 25 is longer than any; fp32 goes by itself.
  const FlatTensor tensors[] = {
      {6 * kM, DType::bf16},  {kM, DType::f32},  {4 * kM, DType::bf16}, {5 * kM, DType::bf16},
      {25 * kM, DType::bf16}, {kM, DType::bf16}, {2 * kM, DType::f32}};
  const std::vector<FlatChunk> chunks = flat_chunks(tensors);
  REQUIRE(chunks.size() == 5);
  const FlatChunk expected[] = {
      {10 * kM, true}, {5 * kM, false}, {25 * kM, false}, {kM, false}, {3 * kM, true}};
  for (size_t i = 0; i < chunks.size(); ++i) {
    CAPTURE(i);
    CHECK(chunks[i].bytes == expected[i].bytes);
    CHECK(chunks[i].copied == expected[i].copied);
  }
  CHECK(flat_chunks({}).empty());
}

}  // namespace
}  // namespace memplan
