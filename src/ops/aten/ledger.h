// Live bytes of a program as it runs, and the operator at which each phase is highest.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "memplan/units.h"

namespace memplan::aten {

enum class Phase : uint8_t { forward, backward, step, count_ };

/// Live bytes, and of them those of gradients, those that autograd keeps, and of the latter those
/// that the backward of a matrix product or an attention kernel reads.
struct Level {
  int64_t bytes = 0, gradients = 0, kept = 0, operands = 0;
  /// FSDP2's: whole parameters, what gathers them, and what waits for the reduction of gradients.
  int64_t unsharded = 0, gathering = 0, reducing = 0;
};

struct Peak {
  Level level;
  std::string_view at = "start";  ///< ATen name: "aten.mm.default"
};

/// Counts bytes. A stretch of the program that stands for `count` equal ones is run once between
/// begin_repeat and end_repeat: what it leaves behind counts `count` times, and its highest moment
/// is that of the first or the last round, whichever is higher.
class Ledger {
 public:
  int64_t live() const { return live_.bytes; }
  const Level& level() const { return live_; }
  /// The most bytes that the running phase has had so far.
  int64_t highest() const { return peak_.level.bytes; }
  void add(int64_t bytes) { live_.bytes = checked_add(live_.bytes, bytes); }
  void free(int64_t bytes) { live_.bytes -= bytes; }
  /// The same of bytes that are in one of Level's lanes; negative when they are freed.
  void add(int64_t Level::*lane, int64_t bytes) {
    live_.*lane += bytes;
    add(bytes);
  }
  /// Live bytes turn out to be a gradient's, or kept by autograd; negative when they are freed.
  void count_gradient(int64_t bytes) { live_.gradients += bytes; }
  void count_kept(int64_t bytes) { live_.kept += bytes; }
  void count_operand(int64_t bytes) { live_.operands += bytes; }

  void enter(Phase phase);
  /// An operator has just run: its outputs exist and nothing it was given is gone yet.
  void note(std::string_view op) {
    for (std::string_view* name : unnamed_) *name = op;
    unnamed_.clear();
    if (live_.bytes > peak_.level.bytes) peak_ = {live_, op};
    if (compiled == 0) note_certain();
  }

  /// Of a new tensor's storage: the next operator is the one that made it.
  void await_name(std::string_view* name) { unnamed_.push_back(name); }
  void forget_name(std::string_view* name) { std::erase(unnamed_, name); }

  /// The number of the region that runs, which torch.compile makes anew; 0: none. What lives within
  /// it is not certain, and of what it keeps for backward only operands are.
  int compiled = 0;
  /// The highest moment of all phases outside of such regions, without what is not certain.
  int64_t certain() const { return certain_; }

  void begin_repeat(int64_t count);
  void end_repeat();
  bool repeating() const { return repeat_ > 0; }

  const Peak& peak(Phase phase) const { return peaks_[static_cast<size_t>(phase)]; }
  /// Ends the running phase: its peak can be read.
  void leave();

 private:
  void note_certain() {
    if (repeat_ == 0) certain_ = std::max(certain_, live_.bytes - (live_.kept - live_.operands));
  }

  std::vector<std::string_view*> unnamed_;
  Level live_;
  int64_t certain_ = 0;
  Peak peak_;   // of the running phase, or of the running stretch
  Peak outer_;  // of the phase, while a stretch runs
  int64_t repeat_ = 0;
  Level start_;
  Phase phase_ = Phase::forward;
  std::array<Peak, static_cast<size_t>(Phase::count_)> peaks_{};
};

}  // namespace memplan::aten
