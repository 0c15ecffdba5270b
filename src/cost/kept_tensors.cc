#include "cost/kept_tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace memplan {
namespace {

// "aten.mm.default" is mm, "transformer_engine.norm_fwd" norm_fwd.
std::string_view short_name(std::string_view op) {
  const size_t first = op.find('.');
  if (first == op.npos) return op;
  op.remove_prefix(first + 1);
  return op.substr(0, op.find('.'));
}

}  // namespace

void add_kept_tensors(std::vector<LedgerLine>& lines, const std::vector<aten::KeptTensors>& kept,
                      int64_t micro_batches) {
  for (const aten::KeptTensors& k : kept) {
    const int64_t count = checked_mul(k.count, micro_batches);
    if (count == 0 || k.bytes == 0) continue;
    const std::span<const int64_t> sizes(k.sizes.at.data(), static_cast<size_t>(k.sizes.dims));
    lines.push_back(
        {Holder::activations,
         fmt::format("{} [{}] {}", short_name(k.op), fmt::join(sizes, ", "), to_string(k.dtype)),
         Bytes(checked_mul(k.bytes, count)),
         fmt::format("{} × {}", count, format_bytes(Bytes(k.bytes))),
         {}});
  }
}

void sort_kept_tensors(std::vector<LedgerLine>& lines) {
  constexpr size_t kShown = 8;
  std::ranges::stable_sort(lines, std::ranges::greater(), &LedgerLine::bytes);
  lines.resize(std::min(lines.size(), kShown));
}

}  // namespace memplan
