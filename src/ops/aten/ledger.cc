#include "ops/aten/ledger.h"

#include <algorithm>

namespace memplan::aten {

void Ledger::enter(Phase phase) {
  phase_ = phase;
  peak_ = {live_, "start"};
}

void Ledger::leave() { peaks_[static_cast<size_t>(phase_)] = peak_; }

void Ledger::begin_repeat(int64_t count) {
  repeat_ = count;
  start_ = live_;
  outer_ = peak_;
  peak_ = {live_, "start"};
}

void Ledger::end_repeat() {
  const int64_t grown = checked_mul(repeat_ - 1, live_ - start_);
  live_ = checked_add(live_, grown);
  peak_.bytes = checked_add(peak_.bytes, std::max<int64_t>(grown, 0));
  if (peak_.bytes <= outer_.bytes) peak_ = outer_;
  repeat_ = 0;
}

}  // namespace memplan::aten
