// Parameter-efficient fine-tuning: LoRA beside linear layers, bottleneck adapters between them.
#pragma once

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

/// LoRA rank for the module of this name: 0 where it is not a target.
/// A target matches the whole name or a suffix after a dot, a single target with regular-expression
/// characters matches the whole name as peft does; "all-linear" matches every linear layer but the
/// head. rank_pattern overrides the rank by the same suffix rule.
int64_t lora_rank(const PeftSpec& peft, std::string_view module);

}  // namespace memplan
