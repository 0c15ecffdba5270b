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
  const auto grown = [&](int64_t Level::*lane) {
    return checked_mul(repeat_ - 1, live_.*lane - start_.*lane);
  };
  const bool rises = live_.bytes > start_.bytes;
  for (int64_t Level::*lane : {&Level::bytes, &Level::gradients, &Level::kept, &Level::operands,
                               &Level::unsharded, &Level::gathering, &Level::reducing}) {
    const int64_t more = grown(lane);
    if (rises) peak_.level.*lane = checked_add(peak_.level.*lane, more);
    live_.*lane = checked_add(live_.*lane, more);
  }
  if (peak_.level.bytes <= outer_.level.bytes) peak_ = outer_;
  repeat_ = 0;
  if (compiled == 0) note_certain();
}

}  // namespace memplan::aten
