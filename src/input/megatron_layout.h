// Small languages in the values of Megatron-LM's arguments.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace memplan {

/// --moe-layer-freq: "2" (every second layer, from the first on, holds experts), or a Python list
/// expression such as "([0]*3+[1]*12)". One entry for each of `layers`. Throws Error{bad_input} at
/// `where`: another form, an entry that is neither 0 nor 1, a length that is not `layers`.
std::vector<bool> parse_layer_pattern(std::string_view text, int64_t layers,
                                      const std::string& where);

/// --pipeline-model-parallel-layout: "Et*3|(tt|)*6mL", which is a chunk of a pipeline rank between
/// each two '|', as strings of E, t, m and L (core/transformer/pipeline_parallel_layer_layout.py).
/// Throws Error{bad_input} at `where` on other letters, and where it grows beyond reason.
std::vector<std::string> parse_pipeline_layout(std::string_view text, const std::string& where);

}  // namespace memplan
