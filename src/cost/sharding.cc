#include "cost/sharding.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "lower/megatron/parameters.h"
#include "policy/fsdp.h"
#include "policy/tensor_parallel.h"

namespace memplan {
namespace {

// "model.layers.3.mlp.": one name for all layers.
std::string any_layer(std::string_view prefix) {
  std::string out;
  for (size_t i = 0; i < prefix.size(); ++i) {
    if (std::isdigit(static_cast<unsigned char>(prefix[i])) == 0)
      out += prefix[i];
    else if (i == 0 || prefix[i - 1] == '.')
      out += '*';
  }
  return out;
}

std::vector<int64_t> dims_of(const Param& p, const std::array<int64_t, 4>& sizes) {
  return {sizes.begin(), sizes.begin() + p.dims};
}

class Rules {
 public:
  explicit Rules(const Job& job) : job_(job), s_(job.strategy) {}

  void add(const Block& block, const Param& p, int64_t times) {
    ShardingRule rule;
    rule.tensor =
        (block.graph.context.prefix.empty() ? "" : any_layer(block.graph.context.prefix)) + p.name;
    rule.shape = dims_of(p, p.shape);
    rule.local = local(p);
    rule.times = times;
    rule.rule = text(p);
    rule.group =
        to_string(p.group == ParamGroup::expert && s_.ep > 1 ? CommGroup::expert_data_parallel
                                                             : CommGroup::data_parallel);
    for (ShardingRule& known : out)
      if (known.tensor == rule.tensor && known.shape == rule.shape && known.rule == rule.rule) {
        known.times += times;
        return;
      }
    out.push_back(std::move(rule));
  }

  std::vector<ShardingRule> out;

 private:
  bool megatron_expert(const Param& p) const {
    return s_.framework == Framework::megatron && p.group == ParamGroup::expert;
  }
  int64_t cut_parts(const Param& p) const {
    return megatron_expert(p) ? megatron::expert_tp(s_) : p.parts;
  }

  std::vector<int64_t> local(const Param& p) const {
    if (tensor_parallel::cuts_layers(s_)) return dims_of(p, tensor_parallel::local_shape(s_, p));
    Param own = p;
    own.parts = cut_parts(p);
    return rows_cut(p, dims_of(own, own.local_shape()));
  }

  // fully_shard leaves weights whole that bitsandbytes packs into integers.
  bool packed(const Param& p) const {
    return s_.quantization.kind != QuantKind::none && p.linear && !p.adapter;
  }
  bool cuts_rows(const Param& p) const {
    return fsdp::cuts_each(s_) && !(packed(p) && !s_.quantization.storage);
  }

  std::vector<int64_t> rows_cut(const Param& p, std::vector<int64_t> sizes) const {
    if (cuts_rows(p) && !packed(p) && !sizes.empty())
      sizes[0] = ceil_div(sizes[0], fsdp::shards(s_));
    return sizes;
  }

  std::string text(const Param& p) const {
    std::string cut;
    const auto add = [&](std::string part) { cut += (cut.empty() ? "" : ", ") + std::move(part); };
    if (p.expert_parts > 1) add(fmt::format("experts over ep {}", p.expert_parts));
    if (tensor_parallel::cuts_layers(s_)) {
      const auto sizes = tensor_parallel::local_shape(s_, p);
      for (size_t i = 0; i < static_cast<size_t>(p.dims); ++i)
        if (sizes[i] != p.shape[i]) add(fmt::format("dim {} over tp {}", i, s_.tp));
    } else if (p.cut != Cut::replicated && cut_parts(p) > 1) {
      const int dim = p.cut == Cut::dim0 ? 0 : p.cut == Cut::dim1 ? 1 : 2;
      add(fmt::format("dim {} over {} {}", dim, megatron_expert(p) ? "expert tp" : "tp",
                      cut_parts(p)));
    }
    if (cuts_rows(p))
      add(fmt::format("{} over {} shards", packed(p) ? "packed bytes" : "dim 0", fsdp::shards(s_)));
    if (fsdp::flattens(s_) && fsdp::shards(s_) > 1)
      add(fmt::format("within its unit's flat parameter, cut over {} shards", fsdp::shards(s_)));
    if (s_.framework == Framework::textbook && s_.zero == 3)
      add(fmt::format("elements over {}", p.group == ParamGroup::expert && s_.ep > 1
                                              ? "expert data parallel"
                                              : "data parallel"));
    if (cut.empty()) cut = "whole";
    return p.trainable ? cut : cut + ", frozen";
  }

  const Job& job_;
  const Strategy& s_;
};

}  // namespace

std::vector<ShardingRule> sharding_rules(const Job& job, const Program& program) {
  Rules rules(job);
  for (const StageProgram& stage : program.stages)
    for (const Run& run : stage.runs) {
      const Block& block = program.blocks[static_cast<size_t>(run.block)];
      for (const Param& p : block.graph.params)
        if (p.registered && !p.tied_copy) rules.add(block, p, run.count);
    }
  return std::move(rules.out);
}

}  // namespace memplan
