// What somebody measured of a job, to be held against what memplan says of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "memplan/job.h"

namespace memplan {

/// A count or bytes; bytes that were published rounded; an operator's name.
using FigureValue = std::variant<int64_t, double, std::string>;

/// Which of memplan's answers a figure is held against.
enum class Answered : uint8_t {
  by_plan,      ///< what `fit` answers
  by_step,      ///< the walk of PyTorch's operators: live tensors as requested
  by_size,      ///< the number of parameters, which is the same in every framework
  by_operator,  ///< one operator alone
};

/// An operator that was measured alone, forward and backward, as Liger-Kernel's benchmarks do.
struct OperatorBench {
  enum class Kind : uint8_t {
    cross_entropy,               ///< logits [tokens, vocabulary]
    fused_linear_cross_entropy,  ///< with the head [vocabulary, width] before it
    gated_mlp,                   ///< gate and up [inner, width], down [width, inner]
    layer_norm,                  ///< [tokens, width]
    rms_norm,
  } kind = Kind::cross_entropy;
  bool liger = false;  ///< by its kernels; else as PyTorch and transformers do it
  DType dtype = DType::f32;
  int64_t tokens = 1, width = 1, inner = 1, vocabulary = 1;
  GpuSpec gpu;
};

struct Measurement {
  std::string figure;  ///< "peak.forward", "allocated"
  FigureValue value;
  std::string refused = {};  ///< why memplan has no such figure, where it has none
  Answered answered = Answered::by_plan;
  std::optional<int64_t> rank = {};  ///< whose it is, where every rank was measured
};

struct MeasuredCase {
  std::string id;
  std::string source;  ///< cases of one source make one row of the error table
  std::vector<Measurement> figures;
  std::optional<Job> job;
  /// The model and what is trained of it, where more is known of them than of the whole job.
  std::optional<Job> model = {};
  std::optional<OperatorBench> bench;  ///< in place of a job
  std::string refused;  ///< why there is no job: "parallel kind 'tp' is not modelled"
  std::string where;    ///< "traces.jsonl:12"
};

}  // namespace memplan
