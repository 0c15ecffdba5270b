#include "lower/megatron/parameters.h"

#include <algorithm>

#include "memplan/error.h"
#include "policy/megatron.h"

namespace memplan::megatron {

using aten::Shape;
using aten::Tensor;

namespace {

bool named(std::string_view name, std::string_view module, std::string_view suffix) {
  return name.size() == module.size() + 1 + suffix.size() && name.starts_with(module) &&
         name[module.size()] == '.' && name.ends_with(suffix);
}

// [E, out, in] of all experts: TEGroupedLinear and SequentialMLP have a tensor for each.
RankParam expert_param(const Param& p, const Strategy& s, int64_t copies) {
  const int64_t local = ceil_div(p.shape[0], s.ep);
  Shape sizes;
  sizes.dims = p.dims - 1;
  for (int i = 1; i < p.dims; ++i) sizes[i - 1] = p.shape[static_cast<size_t>(i)];
  const int cut = p.cut == Cut::dim1 ? 0 : p.cut == Cut::dim2 ? 1 : -1;
  if (cut >= 0) sizes[cut] = ceil_div(sizes[cut], expert_tp(s));
  return {p.name, sizes, ParamGroup::expert, local, copies, p.trainable, false};
}

}  // namespace

std::vector<RankParam> rank_params(const Graph& graph, const Job& job, int64_t copies) {
  std::vector<RankParam> out;
  for (const Param& p : graph.params) {
    if (p.group == ParamGroup::expert) {
      out.push_back(expert_param(p, job.strategy, copies));
      continue;
    }
    const auto local = p.local_shape();
    out.push_back({p.name, Shape(std::span(local.data(), static_cast<size_t>(p.dims))),
                   ParamGroup::dense, 1, copies, p.trainable,
                   job.strategy.megatron.fp8 && p.linear});
  }
  return out;
}

int64_t data_ranks(const Strategy& s, ParamGroup group) {
  const int64_t ranks = product({s.tp, s.cp, s.dp});
  const int64_t model = group == ParamGroup::dense ? s.tp : checked_mul(expert_tp(s), s.ep);
  return ranks / checked_mul(model, s.megatron.optimizer_instances);
}

Job padded(const Job& job) {
  Job out = job;
  out.model.vocab = padded_vocabulary(job);
  return out;
}

Params::Params(aten::Session& session, const Graph& graph, const Job& job, int64_t copies)
    : graph_(&graph) {
  const Strategy& s = job.strategy;
  for (const RankParam& p : rank_params(graph, job, copies))
    for (int64_t expert = 0; expert < p.experts; ++expert) add(session, s, p);
}

void Params::add(aten::Session& session, const Strategy& s, const RankParam& p) {
  aten::Leaf& leaf = session.leaf(p.sizes, s.precision.weight, s.training && p.trainable, p.copies);
  // DistributedDataParallel's hook adds the gradient to main_grad and drops it
  // (core/distributed/distributed_data_parallel.py, _make_backward_post_hook).
  leaf.spend = {aten::Spend::When::accumulated, 0, "aten.add_.Tensor"};
  leaves_.push_back({p.name, &leaf});
}

Tensor Params::find(std::string_view module, std::string_view suffix) const {
  const auto at = std::find_if(leaves_.begin(), leaves_.end(),
                               [&](const Named& n) { return named(n.name, module, suffix); });
  return at == leaves_.end() ? Tensor() : at->leaf->value;
}

Tensor Params::get(std::string_view module, std::string_view suffix) const {
  if (Tensor found = find(module, suffix)) return found;
  throw Error(ErrorKind::not_modelled, "--framework megatron",
              "this model has no " + std::string(module) + "." + std::string(suffix) +
                  ", which Megatron-core's layers have",
              "use --framework textbook");
}

mcore::Norm Params::norm(std::string_view module) const {
  return {get(module), find(module, "bias")};
}

std::vector<Tensor> Params::all(std::string_view name) const {
  std::vector<Tensor> out;
  for (const Named& n : leaves_)
    if (n.name == name) out.push_back(n.leaf->value);
  return out;
}

}  // namespace memplan::megatron
