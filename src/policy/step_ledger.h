// Live bytes of a step written down as Python runs it: a Value is what a variable holds.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "policy/optimizer_step.h"

namespace memplan {

/// Counts bytes above those alive at the start. Not movable: values point back to it.
class StepLedger {
  struct Storage {
    StepLedger* ledger;
    int64_t bytes;
    Storage(StepLedger* owner, int64_t size) : ledger(owner), bytes(size) {}
    Storage(const Storage&) = delete;
    Storage& operator=(const Storage&) = delete;
    ~Storage() { ledger->live_ -= bytes; }
  };

 public:
  /// Copies share a storage, as Python's variables do. Assigning frees what was held before, after
  /// the new value has been made.
  using Value = std::shared_ptr<Storage>;

  StepLedger() = default;
  StepLedger(const StepLedger&) = delete;
  StepLedger& operator=(const StepLedger&) = delete;

  /// An operator returns a tensor, or a list of tensors, of so many bytes.
  Value make(std::string_view op, int64_t bytes) {
    live_ = checked_add(live_, bytes);
    if (live_ > peak_.transient.count()) peak_ = {Bytes(live_), op};
    return std::make_shared<Storage>(this, bytes);
  }
  /// Something alive since before the start: dropping it takes its bytes off.
  Value found(int64_t bytes) { return std::make_shared<Storage>(this, bytes); }
  /// A tensor outlives the step (it takes the place of one that was found and dropped).
  void keep(const Value& value) { value->bytes = 0; }

  const StepPeak& peak() const { return peak_; }

 private:
  int64_t live_ = 0;
  StepPeak peak_;
};

using Value = StepLedger::Value;
using StepParams = std::span<const StepParam>;

/// Elements of a parameter; of its dimensions [from, to).
int64_t elements(const StepParam& param, int from, int to);
inline int64_t elements(const StepParam& param) { return elements(param, 0, param.dims); }
inline int64_t bytes(const StepParam& param) {
  return checked_mul(elements(param), size_of(param.dtype));
}

/// Sum of bytes_of(param) over all parameters, multiplied by their counts.
template <typename BytesOf>
int64_t total(StepParams params, BytesOf bytes_of) {
  int64_t sum = 0;
  for (const StepParam& param : params)
    sum = checked_add(sum, checked_mul(param.count, bytes_of(param)));
  return sum;
}

/// Calls `visit` in the optimizer's order. Of equal layers it sees two: what the second finds, left
/// over from the first, is what every later one finds.
template <typename Visit>
void in_order(StepParams params, Visit visit) {
  for (size_t first = 0; first < params.size();) {
    size_t last = first;
    while (last < params.size() && params[last].count == params[first].count &&
           params[last].run == params[first].run)
      ++last;
    for (int64_t layer = 0; layer < params[first].count && layer < 2; ++layer)
      for (size_t i = first; i < last; ++i) visit(params[i]);
    first = last;
  }
}

/// The parameters of each dtype, in the order of torch's _group_tensors_by_device_and_dtype: an
/// unordered_map, which hands out its keys last seen first (libstdc++, two or three keys).
std::vector<std::vector<StepParam>> by_dtype(StepParams params);

}  // namespace memplan
