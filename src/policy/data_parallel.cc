#include "policy/data_parallel.h"

#include <algorithm>

namespace memplan {
namespace {

constexpr int64_t kBufferSize = 10485760;

struct Open {
  DType dtype;
  int64_t tensors = 0, bytes = 0;
};

}  // namespace

std::vector<FlatChunk> flat_chunks(std::span<const FlatTensor> tensors) {
  std::vector<FlatChunk> out;
  std::vector<Open> open;
  const auto close = [&](const Open& chunk) { out.push_back({chunk.bytes, chunk.tensors > 1}); };
  for (const FlatTensor& tensor : tensors) {
    auto chunk = std::find_if(open.begin(), open.end(),
                              [&](const Open& row) { return row.dtype == tensor.dtype; });
    if (chunk == open.end()) chunk = open.insert(open.end(), Open{tensor.dtype});
    if (chunk->bytes > 0 && checked_add(chunk->bytes, tensor.bytes) > kBufferSize) {
      close(*chunk);
      *chunk = Open{tensor.dtype};
    }
    ++chunk->tensors;
    chunk->bytes = checked_add(chunk->bytes, tensor.bytes);
  }
  for (const Open& chunk : open)
    if (chunk.tensors > 0) close(chunk);
  return out;
}

}  // namespace memplan
