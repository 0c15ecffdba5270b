// The parameters of one chunk as a rank of Megatron-core holds them.
#pragma once

#include <string_view>
#include <vector>

#include "lower/program.h"
#include "ops/aten/session.h"
#include "ops/mcore/linear.h"

namespace memplan::megatron {

/// A parameter tensor on one rank, or one of several equal ones.
struct RankParam {
  std::string_view name;  ///< the graph's
  aten::Shape sizes;
  ParamGroup group = ParamGroup::dense;
  int64_t experts = 1;  ///< tensors of this kind, one for each local expert
  int64_t copies = 1;   ///< of all that
  bool trainable = true;
  bool fp8 = false;  ///< of a linear layer that multiplies in fp8
};

/// The parameters of a block in the order its modules register them, experts apart.
std::vector<RankParam> rank_params(const Graph& graph, const Job& job, int64_t copies);

/// Ranks over which a group's optimizer states are divided: dp·cp, or of experts
/// tp·cp·dp/(expert_tp·ep) (core/parallel_state.py, expert data parallel group).
int64_t data_ranks(const Strategy& strategy, ParamGroup group);

/// The job as its ranks hold it: the vocabulary padded.
Job padded(const Job& job);

/// Throws Error{not_modelled} for a model of transformers' whose layers GPTModel does not have.
void require_gpt(const ModelSpec& model);

/// Ranks that share an expert's matrices.
inline int64_t expert_tp(const Strategy& s) {
  return s.megatron.expert_tp > 0 ? s.megatron.expert_tp : s.tp;
}

/// A block's parameters as leaves of a tape, by name.
class Params {
 public:
  Params(aten::Session& session, const Graph& graph, const Job& job, int64_t copies);

  /// Empty where the block has none of this name.
  aten::Tensor find(std::string_view module, std::string_view suffix = "weight") const;
  /// Throws Error{not_modelled}: the forward and the graph's names disagree.
  aten::Tensor get(std::string_view module, std::string_view suffix = "weight") const;
  mcore::Norm norm(std::string_view module) const;
  /// All tensors of this whole name: one of each local expert.
  std::vector<aten::Tensor> all(std::string_view name) const;

  const Graph& graph() const { return *graph_; }

 private:
  struct Named {
    std::string_view name;
    aten::Leaf* leaf;
  };
  void add(aten::Session& session, const Strategy& strategy, const RankParam& param);

  const Graph* graph_;
  std::vector<Named> leaves_;
};

}  // namespace memplan::megatron
