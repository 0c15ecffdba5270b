// Parameter-efficient fine-tuning: LoRA beside linear layers, bottleneck adapters between them.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "ops/graph.h"

namespace memplan {

enum class AdapterSite : uint8_t { after_attention, after_mlp };

/// The bottleneck adapter that the job's PEFT method puts at this site, if it puts one there:
/// down [m, d] + bias, non-linearity, up [d, m] + bias, residual: 2md + d + m parameters
/// (arXiv 1902.00751). "lin" adds a LayerNorm of 2d (arXiv 2004.03829; counted as in arXiv
/// 2106.09685, section 5.1). Otherwise returns x.
TensorId adapter(Graph& g, TensorId x, int64_t width, AdapterSite site);

/// Which modules LoRA sits beside, compiled once for a job. A target matches the whole name or a
/// suffix after a dot; a single target with regular-expression characters matches the whole name,
/// as peft does; "all-linear" matches every linear layer but the head. rank_pattern overrides the
/// rank by the same suffix rule.
class LoraTargets {
 public:
  /// Throws Error{bad_input} naming --peft where the regular expression is none. It is matched in
  /// polynomial time whatever it says; back-references are refused.
  explicit LoraTargets(const PeftSpec& peft);
  ~LoraTargets();
  LoraTargets(const LoraTargets&) = delete;
  LoraTargets& operator=(const LoraTargets&) = delete;

  /// r for the module of this name; 0 where it is not a target.
  int64_t rank(std::string_view module) const;

 private:
  struct Pattern;
  bool targeted(std::string_view module) const;
  const PeftSpec& peft_;
  std::unique_ptr<const Pattern> pattern_;
};

/// Whether `target` is the whole name of a module or its end after a dot.
bool names_module(std::string_view target, std::string_view module);

}  // namespace memplan
