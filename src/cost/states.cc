#include "cost/states.h"

#include <fmt/format.h>

namespace memplan {
namespace {

constexpr const char* kZeroPaper = "ZeRO, arXiv 1910.02054, section 5";

struct Part {
  Holder holder;
  std::string_view name;
  int64_t elements;  // of the replica's slice
  Bytes bytes;       // all of them
  bool sharded;
  Placement placement;
};

Bytes& host_pool(HostMemory& host, Placement placement) {
  return placement == Placement::nvme ? host.nvme : host.pageable;
}

class Accountant {
 public:
  Accountant(const Job& job, RankStates& out) : job_(job), out_(out) {}

  void add(const Part& part, ParamGroup group) {
    if (part.bytes == Bytes(0)) return;
    const int64_t parts = part.sharded ? shards(job_.strategy, group) : 1;
    const Bytes bytes = share(part, parts);
    if (part.placement != Placement::gpu) {
      host_pool(out_.host, part.placement) += bytes;
      return;
    }
    total(part.holder) += bytes;
    LedgerLine line{part.holder, std::string(part.name), bytes, {}, kZeroPaper};
    if (group == ParamGroup::expert) line.label += " of experts";
    if (job_.explain) line.formula = formula(part, parts, group);
    out_.lines.push_back(std::move(line));
  }

 private:
  Bytes& total(Holder holder) {
    switch (holder) {
      case Holder::weights:
        return out_.gpu.weights;
      case Holder::gradients:
        return out_.gpu.gradients;
      default:
        return out_.gpu.optimizer;
    }
  }

  // What the fullest of `parts` ranks holds: elements are never split.
  static Bytes share(const Part& part, int64_t parts) {
    if (parts == 1) return part.bytes;
    const bool even = part.elements > 0 && part.bytes.count() % part.elements == 0;
    const int64_t each = even ? part.bytes.count() / part.elements : 1;
    return Bytes(checked_mul(ceil_div(part.bytes.count() / each, parts), each));
  }

  std::string formula(const Part& part, int64_t parts, ParamGroup group) const {
    const double each = part.elements == 0 ? 0
                                           : static_cast<double>(part.bytes.count()) /
                                                 static_cast<double>(part.elements);
    std::string text = fmt::format("{} elements × {:.4g} B", format_count(part.elements), each);
    if (parts > 1)
      text += fmt::format(" / {} ({})", parts, group == ParamGroup::dense ? "dp·cp" : "dp·cp / ep");
    return text;
  }

  const Job& job_;
  RankStates& out_;
};

void add_group(Accountant& accountant, const GroupSummary& group, ParamGroup kind,
               int64_t weight_versions, const Job& job) {
  const Strategy& s = job.strategy;
  const StatePolicy policy = textbook::states(s);
  const Precision& p = s.precision;
  const auto bytes = [](int64_t elements, DType dtype) {
    return Bytes(checked_mul(elements, size_of(dtype)));
  };
  accountant.add({Holder::weights, "weights", group.elements, bytes(group.elements, p.weight),
                  policy.shard_weights, s.offload.parameters},
                 kind);
  if (weight_versions > 1)
    accountant.add({Holder::weights, "stashed weight versions",
                    checked_mul(group.elements, weight_versions - 1),
                    bytes(group.elements, p.weight) * (weight_versions - 1), policy.shard_weights,
                    Placement::gpu},
                   kind);
  if (!s.training) return;
  accountant.add({Holder::gradients, "gradients", group.trainable,
                  bytes(group.trainable, p.gradient), policy.shard_gradients, s.offload.gradients},
                 kind);
  if (p.master)
    accountant.add({Holder::optimizer, "master weights", group.trainable,
                    bytes(group.trainable, *p.master), policy.shard_optimizer, s.offload.optimizer},
                   kind);
  accountant.add({Holder::optimizer, "optimizer moments", group.trainable, group.moments,
                  policy.shard_optimizer, s.offload.optimizer},
                 kind);
}

}  // namespace

int64_t shards(const Strategy& strategy, ParamGroup group) {
  const int64_t all = checked_mul(strategy.dp, strategy.cp);
  return group == ParamGroup::dense ? all : all / strategy.ep;
}

RankStates rank_states(const GroupSummary& dense, const GroupSummary& expert,
                       int64_t weight_versions, const Job& job) {
  RankStates out;
  Accountant accountant(job, out);
  add_group(accountant, dense, ParamGroup::dense, weight_versions, job);
  add_group(accountant, expert, ParamGroup::expert, weight_versions, job);
  out.gpu.parameters = checked_add(dense.elements, expert.elements);
  out.gpu.trainable = checked_add(dense.trainable, expert.trainable);
  return out;
}

}  // namespace memplan
