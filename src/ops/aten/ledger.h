// Live bytes of a program as it runs, and the operator at which each phase is highest.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "memplan/units.h"

namespace memplan::aten {

enum class Phase : uint8_t { forward, backward, step, count_ };

struct Peak {
  int64_t bytes = 0;
  std::string_view at = "start";  ///< ATen name: "aten.mm.default"
};

/// Counts bytes. A stretch of the program that stands for `count` equal ones is run once between
/// begin_repeat and end_repeat: what it leaves behind counts `count` times, and its highest moment
/// is that of the first or the last round, whichever is higher.
class Ledger {
 public:
  int64_t live() const { return live_; }
  void add(int64_t bytes) { live_ = checked_add(live_, bytes); }
  void free(int64_t bytes) { live_ -= bytes; }

  void enter(Phase phase);
  /// An operator has just run: its outputs exist and nothing it was given is gone yet.
  void note(std::string_view op) {
    if (live_ > peak_.bytes) peak_ = {live_, op};
  }

  void begin_repeat(int64_t count);
  void end_repeat();
  bool repeating() const { return repeat_ > 0; }

  const Peak& peak(Phase phase) const { return peaks_[static_cast<size_t>(phase)]; }
  /// Ends the running phase: its peak can be read.
  void leave();

 private:
  int64_t live_ = 0;
  Peak peak_;   // of the running phase, or of the running stretch
  Peak outer_;  // of the phase, while a stretch runs
  int64_t repeat_ = 0, start_ = 0;
  Phase phase_ = Phase::forward;
  std::array<Peak, static_cast<size_t>(Phase::count_)> peaks_{};
};

}  // namespace memplan::aten
