// Pipeline schedules as a table: what each stage holds in flight, and how long it idles.
//
// p stages, v chunks of the model a stage (v > 1: interleaved), m micro-batches a step, r a stage
// counted from 0. All micro-batches take equal time on all stages, and sending takes none.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "memplan/strategy.h"

namespace memplan {

struct PipelineShape {
  int64_t stages = 1;         ///< p
  int64_t chunks = 1;         ///< v
  int64_t micro_batches = 1;  ///< m
};

/// An exact ratio, e.g. of idle time to step time.
struct Fraction {
  int64_t numerator = 0, denominator = 1;
  double value() const { return static_cast<double>(numerator) / static_cast<double>(denominator); }
};
/// Throws Error{too_large} where the cross products do not fit 63 bits.
bool operator<(Fraction a, Fraction b);

/// What a stage holds at its fullest moment.
struct HeldInFlight {
  int64_t chunks = 1;       ///< activation sets of one chunk of L/(p·v) layers
  int64_t first_chunk = 1;  ///< of them, of stage 0's first chunk: micro-batches past the embedding
  int64_t last_chunk = 1;   ///< of them, of the last stage's last chunk: micro-batches in the head
};

struct ScheduleRow {
  ScheduleKind kind{};
  HeldInFlight (*in_flight)(const PipelineShape& shape, int64_t stage);
  int64_t (*weight_versions)(const PipelineShape& shape, int64_t stage);  ///< the current one too
  Fraction (*bubble)(const PipelineShape& shape);  ///< idle / step time, alike on all stages
  std::string_view in_flight_formula, versions_formula, bubble_formula;
  std::string_view source;
};

/// The row of a schedule; `chunks` > 1 of one_f1b is its interleaved form.
const ScheduleRow& schedule_row(ScheduleKind kind, int64_t chunks);

/// Of an interleaved stage: the micro-batches that each chunk holds at the moment when the sum of
/// counts times weights is highest; they add up to HeldInFlight::chunks. `weights`: bytes that one
/// micro-batch keeps in each chunk, v of them. Forwards and backwards alternate after the warm-up,
/// in Megatron-core's order (schedules.py, get_schedule_table): groups of p micro-batches, backward
/// from the last chunk. m is a multiple of p.
std::vector<int64_t> fullest_chunks(const PipelineShape& shape, int64_t stage,
                                    std::span<const int64_t> weights);

/// Consecutive layers.
struct LayerRange {
  int64_t first = 0, count = 0;
  friend bool operator==(const LayerRange&, const LayerRange&) = default;
};

/// The layers of one stage, one range a chunk. Without chunks the cut is as even as possible and
/// the first stages take one of the remaining layers each (DeepSpeed runtime/utils.py,
/// partition_uniform). With chunks, chunk c of stage r is the (c·p + r)-th of p·v equal parts
/// (Megatron-core transformer_layer.py, get_transformer_layer_offset).
/// Throws Error{bad_input} with the nearest valid value: more stages than layers, or, interleaved,
/// layers that p·v does not divide.
std::vector<LayerRange> layers_of_stage(int64_t layers, int64_t stages, int64_t chunks,
                                        int64_t stage);

/// The fewest micro-batches whose bubble is below `limit`; empty where no number is enough (naive).
/// Interleaved: the fewest that are a multiple of p.
std::optional<int64_t> micro_batches_for_bubble(ScheduleKind kind, int64_t stages, int64_t chunks,
                                                Fraction limit);

/// The largest micro-batch that divides `batch` (samples of one replica and step) and leaves enough
/// micro-batches for a bubble below `limit`; empty where even 1 does not.
/// Throws Error{too_large} for more than 2^40 samples.
std::optional<int64_t> micro_batch_for_bubble(ScheduleKind kind, int64_t stages, int64_t chunks,
                                              int64_t batch, Fraction limit);

}  // namespace memplan
