// Bottleneck adapters between the sub-layers of a layer.
#pragma once

#include "ops/graph.h"

namespace memplan {

enum class AdapterSite : uint8_t { after_attention, after_mlp };

/// The bottleneck adapter that the job's PEFT method puts at this site, if it puts one there:
/// down [m, d] + bias, non-linearity, up [d, m] + bias, residual: 2md + d + m parameters
/// (arXiv 1902.00751). "lin" adds a LayerNorm of 2d (arXiv 2004.03829; counted as in arXiv
/// 2106.09685, section 5.1). Otherwise returns x.
TensorId adapter(Graph& g, TensorId x, int64_t width, AdapterSite site);

}  // namespace memplan
