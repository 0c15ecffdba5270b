// How long the samples of a data set are.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace memplan {

struct SampleLengths {
  std::vector<std::pair<int64_t, int64_t>> counts;  ///< tokens and samples of that many, rising
  int64_t samples = 0;

  int64_t shortest() const { return counts.front().first; }
  int64_t longest() const { return counts.back().first; }
  int64_t longer_than(int64_t tokens) const;  ///< samples
  /// What half of all micro-batches of `micro_batch` samples, drawn at random, are padded to at
  /// most: the least length whose share of samples, to that power, is a half.
  int64_t median_padded(int64_t micro_batch) const;
  /// Samples longer than `tokens` cut to it.
  SampleLengths cut(int64_t tokens) const;
};

/// Reads a histogram, lines of "TOKENS SAMPLES" or {"TOKENS": SAMPLES} in JSON; or a list, one
/// number of tokens a line or [TOKENS, …]. '#' begins a comment in text.
/// Throws Error{bad_input} with line or JSON pointer.
SampleLengths read_sample_lengths(const std::string& path);

}  // namespace memplan
