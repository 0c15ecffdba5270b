// Framework `textbook`: what the papers count, and nothing else.
//
// States by ZeRO stage (Rajbhandari et al., arXiv 1910.02054, section 5), offload as ZeRO-Offload
// (arXiv 2101.06840) and ZeRO-Infinity (arXiv 2104.07857) place them, activations by Korthikanti et
// al. (arXiv 2205.05198) or by the ZeRO paper's estimate.
#pragma once

#include <string>
#include <vector>

#include "memplan/job.h"
#include "ops/graph.h"

namespace memplan {

/// Which states are divided over the data-parallel group, and where each lives.
struct StatePolicy {
  bool shard_optimizer = false, shard_gradients = false, shard_weights = false;
  /// A block's full gradients exist on the GPU only while its backward runs.
  bool transient_gradients = false;
  /// A block's full weights exist on the GPU only while it runs.
  bool transient_weights = false;
};

namespace textbook {

StatePolicy states(const Strategy& strategy);

/// Replaces what a layer keeps by the ZeRO paper's 12·b·s·h elements (section 3.2: "12 × hidden dim
/// × batch × sequence × layers"), where the strategy asks for it. `width`: h.
void apply_activation_model(const Strategy& strategy, int64_t width, Graph& layer);

/// Refuses, by name, what the papers do not define. Throws Error{not_modelled}.
void require_modelled(const Job& job);

/// What this framework leaves out, for the report.
std::vector<std::string> not_modelled(const Job& job);
std::vector<std::string> assumptions(const Job& job);

}  // namespace textbook
}  // namespace memplan
