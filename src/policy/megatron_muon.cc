#include "policy/megatron_muon.h"

#include <algorithm>
#include <numeric>

#include "memplan/error.h"
#include "policy/megatron.h"
#include "policy/step_ledger.h"

namespace memplan::megatron {
namespace {

constexpr Version kEmerging2{0, 18, 0};  // comes with Emerging-Optimizers 0.2; before it 0.1

// NVIDIA-NeMo/Emerging-Optimizers 0.1 and 0.2, muon_utils.py newton_schulz, and what
// TensorParallelMuon multiplies its result by. Of a momentum in fp32.
Value orthogonalize(StepLedger& ledger, const MegatronSpec::Muon& muon, int64_t rows,
                    int64_t columns) {
  const int64_t all = checked_mul(rows, columns), side = std::min(rows, columns);
  const int64_t wide = checked_mul(all, size_of(DType::f32));
  const int64_t size = size_of(muon.bf16_products ? DType::bf16 : DType::f32);
  const int64_t gram = product({side, side, size});
  constexpr int kSteps = 2;  // the second finds what every later one finds
  Value x = ledger.make("aten.div.Tensor", wide);
  if (muon.bf16_products) x = ledger.make("aten._to_copy.default", checked_mul(all, size));
  for (int i = 0; i < kSteps; ++i) {
    const Value a = ledger.make("aten.mm.default", gram);
    const Value b = ledger.make("aten.addmm.default", gram);
    x = ledger.make("aten.addmm.default", checked_mul(all, size));
  }
  if (muon.bf16_products) x = ledger.make("aten._to_copy.default", wide);
  // orth_grad * scale_factor * extra_scale_factor, while orth_grad is a variable
  const Value scaled = ledger.make("aten.mul.Tensor", wide);
  return ledger.make("aten.mul.Tensor", wide);
}

// TensorParallelMuon.orthogonalize.
Value update_of(StepLedger& ledger, const MegatronSpec::Muon& muon, const OptimizerTensor& t) {
  if (t.query_rows == 0 || !muon.split_qkv) return orthogonalize(ledger, muon, t.rows, t.columns);
  const int64_t wide = checked_mul(t.elements, size_of(DType::f32));
  std::vector<Value> parts;
  {
    Value copies;  // rows of a single group are a view
    if (t.query_groups > 1) copies = ledger.make("aten.clone.default", wide);
    for (int64_t rows : {t.query_rows, t.key_rows, t.key_rows})
      parts.push_back(orthogonalize(ledger, muon, rows, t.columns));
  }
  return ledger.make("aten.cat.default", wide);
}

// orthogonalized_optimizer.py, OrthogonalizedOptimizer.step: one optimizer for all param_groups, or
// one for experts alone.
void muon_step(StepLedger& ledger, const Strategy& s, std::span<const OptimizerTensor> own,
               bool experts_apart) {
  const MegatronSpec::Muon& muon = s.megatron.muon;
  Value gradient, update;
  for (size_t i = 0; i < own.size() && own[i].muon(); ++i) {
    gradient.reset();
    const bool first = experts_apart && i > 0 && own[i].expert != own[i - 1].expert;
    // 0.2 keeps the last update in a variable of its own until the next is there.
    if (first || s.megatron.core < kEmerging2) update.reset();
    if (muon.nesterov)
      gradient = ledger.make("aten.lerp.Scalar", checked_mul(own[i].elements, size_of(DType::f32)));
    update = update_of(ledger, muon, own[i]);
  }
}

using Dealt = std::vector<std::vector<OptimizerTensor>>;

// shard_params: param_groups one after the other (Muon's; Adam's tables; its vectors), sorted by
// size, dealt out back and forth.
Dealt deal(std::vector<OptimizerTensor> tensors, int64_t ranks) {
  Dealt out(static_cast<size_t>(ranks));
  const auto group = [](const OptimizerTensor& t) { return t.muon() ? 0 : t.vector ? 2 : 1; };
  std::ranges::stable_sort(tensors, {}, group);
  std::ranges::stable_sort(tensors, {}, &OptimizerTensor::elements);
  int64_t at = 0;
  for (OptimizerTensor& t : tensors) {
    t.chunk = 0;  // nothing to tell shares apart by
    out[static_cast<size_t>(at < ranks ? at : 2 * ranks - 1 - at)].push_back(t);
    at = (at + 1) % (2 * ranks);
  }
  return out;
}

// _shard_params_from_layout: Muon's alone, chunk by chunk.
Dealt packed(const Strategy& s, const std::vector<OptimizerTensor>& tensors, int64_t ranks,
             int64_t stage) {
  Dealt out(static_cast<size_t>(ranks));
  for (size_t first = 0; first < tensors.size();) {
    size_t last = first;
    std::vector<int64_t> elements;
    for (; last < tensors.size() && tensors[last].chunk == tensors[first].chunk; ++last)
      elements.push_back(tensors[last].elements);
    const ShardLayout layout = shard_layout(
        elements, ranks, muon_bucket(s, stage, static_cast<size_t>(tensors[first].chunk)),
        bucket_multiple(s, ranks));
    for (size_t shard = 0; shard < out.size(); ++shard)
      for (size_t i : layout.shards[shard]) out[shard].push_back(tensors[first + i]);
    first = last;
  }
  return out;
}

// allgather_params of one of the two groups of ranks, for a rank that has updated `own`.
void gather(StepLedger& ledger, const Strategy& s, const Dealt& dealt,
            const std::vector<OptimizerTensor>& own) {
  if (dealt.size() == 1) return;
  const auto size = [&](const std::vector<OptimizerTensor>& share) {
    int64_t elements = 0;
    for (const OptimizerTensor& t : share) elements = checked_add(elements, t.elements);
    return checked_mul(elements, size_of(s.precision.weight));
  };
  int64_t all = 0;
  bool equal = true;
  for (const auto& share : dealt) {
    all = checked_add(all, size(share));
    equal &= size(share) == size(dealt[0]);
  }
  constexpr std::string_view kOp = "c10d.allgather_.default";
  // Up to 0.17 a rank's own weights are gathered beside the flat tensor that they are sent from.
  Value sent, whole;
  if (s.megatron.core < kEmerging2) sent = ledger.make("aten.cat.default", size(own));
  const Value received = ledger.make(kOp, all);
  // ProcessGroupNCCL::allgather goes through one tensor where all are of the same size.
  if (equal) whole = ledger.make(kOp, all);
}

std::vector<OptimizerTensor> those(std::span<const OptimizerTensor> tensors, bool experts) {
  std::vector<OptimizerTensor> out;
  std::ranges::copy_if(tensors, std::back_inserter(out),
                       [&](const OptimizerTensor& t) { return t.expert == experts; });
  return out;
}

// In the order of the optimizers' steps.
std::vector<OptimizerTensor> by_optimizer(const std::vector<OptimizerTensor>& dense,
                                          const std::vector<OptimizerTensor>& experts) {
  std::vector<OptimizerTensor> out = dense;
  out.insert(out.end(), experts.begin(), experts.end());
  std::ranges::stable_sort(out, {}, [](const OptimizerTensor& t) { return !t.muon(); });
  return out;
}

// Index of the first of the dealt shares that equals each.
std::vector<size_t> kinds(const Dealt& dealt) {
  std::vector<size_t> out;
  for (const auto& share : dealt)
    out.push_back(static_cast<size_t>(std::ranges::find(dealt, share) - dealt.begin()));
  return out;
}

}  // namespace

std::vector<OptimizerShare> optimizer_shares(const Strategy& s,
                                             std::span<const OptimizerTensor> tensors,
                                             int64_t stage) {
  const int64_t ranks = product({s.tp, s.cp, s.dp});
  std::vector<OptimizerTensor> dense = those(tensors, false), experts = those(tensors, true);
  if (s.zero == 0) {
    OptimizerShare all{0, ranks, by_optimizer(dense, experts), {}};
    StepLedger ledger;
    muon_step(ledger, s, all.own, true);
    all.step = ledger.peak();
    return {all};
  }
  const bool buffers = has_muon_buffers(s);
  if (buffers) {
    const auto adams = [](const OptimizerTensor& t) { return !t.muon(); };
    if (std::ranges::any_of(experts, adams))
      throw Error(ErrorKind::bad_input, "--optimizer",
                  "the layer-wise distributed optimizer has no buffer for biases of experts",
                  "add --disable-bias-linear or --no-use-layer-wise-param-layout");
    std::erase_if(dense, adams);
  }
  const int64_t dense_ranks = muon_ranks(s, false);
  // "simplify when dp_cp group size is 1"
  const int64_t expert_ranks = experts.empty() || dense_ranks == 1 ? 1 : muon_ranks(s, true);
  const int64_t model = ranks / expert_ranks;
  const auto dealt_out = [&](const std::vector<OptimizerTensor>& all, int64_t among) {
    return buffers ? packed(s, all, among, stage) : deal(all, among);
  };
  const Dealt dealt = dealt_out(dense, dense_ranks);
  const Dealt dealt_experts = dealt_out(experts, expert_ranks);
  const std::vector<size_t> kind = kinds(dealt), expert_kind = kinds(dealt_experts);

  std::vector<OptimizerShare> out;
  std::vector<std::pair<size_t, size_t>> known;
  for (int64_t rank = ranks - 1; rank >= 0; --rank) {
    const size_t d = kind[static_cast<size_t>(rank / s.tp)];
    const size_t e = expert_kind[static_cast<size_t>(rank / model)];
    const auto at = std::ranges::find(known, std::pair(d, e));
    if (at != known.end()) {
      OptimizerShare& share = out[static_cast<size_t>(at - known.begin())];
      share.first = rank;
      ++share.count;
      continue;
    }
    known.emplace_back(d, e);
    OptimizerShare share{rank, 1, by_optimizer(dealt[d], dealt_experts[e]), {}};
    StepLedger ledger;
    muon_step(ledger, s, share.own, false);
    // Weights that lie in buffers are gathered in place.
    if (!buffers) {
      gather(ledger, s, dealt, dealt[d]);
      gather(ledger, s, dealt_experts, dealt_experts[e]);
    }
    share.step = ledger.peak();
    out.push_back(std::move(share));
  }
  std::ranges::reverse(out);
  return out;
}

int64_t muon_ranks(const Strategy& s, bool experts) {
  if (!experts) return checked_mul(s.cp, s.dp);
  const int64_t expert_tp = s.megatron.expert_tp > 0 ? s.megatron.expert_tp : s.tp;
  return product({s.tp, s.cp, s.dp}) / checked_mul(expert_tp, s.ep);
}

bool has_muon_buffers(const Strategy& s) {
  return s.optimizer == OptimizerKind::muon && s.zero > 0 && s.megatron.muon.precomputed_layout;
}

ShardLayout shard_layout(std::span<const int64_t> elements, int64_t ranks, int64_t bucket,
                         int64_t multiple) {
  constexpr int64_t kStart = 64;         // pad_param_start
  constexpr double kPaddingFloor = 0.9;  // a bucket has that much of its largest tensor's shards
  const auto rounded = [](int64_t n, int64_t of) { return checked_mul(ceil_div(n, of), of); };
  const int64_t divisor = std::lcm(kStart, multiple / ranks);
  ShardLayout out;
  out.shards.resize(static_cast<size_t>(ranks));
  std::vector<size_t> own;
  int64_t sum = 0, largest = 0;
  const auto close = [&] {
    if (own.empty()) return;
    std::ranges::stable_sort(own, std::ranges::greater{}, [&](size_t i) { return elements[i]; });
    std::vector<int64_t> ends(static_cast<size_t>(ranks));
    for (size_t i : own) {
      const auto least = std::ranges::min_element(ends);
      *least = checked_add(rounded(*least, kStart), elements[i]);
      out.shards[static_cast<size_t>(least - ends.begin())].push_back(i);
    }
    const int64_t shard = rounded(*std::ranges::max_element(ends), divisor);
    out.elements = checked_add(out.elements, checked_mul(ranks, shard));
    own.clear();
    sum = largest = 0;
  };
  for (size_t i = elements.size(); i-- > 0;) {
    own.push_back(i);
    sum = checked_add(sum, elements[i]);
    largest = std::max(largest, elements[i]);
    const auto floor =
        static_cast<int64_t>(static_cast<double>(checked_mul(ranks, largest)) * kPaddingFloor);
    if (bucket > 0 && sum >= std::max(bucket, floor)) close();
  }
  close();
  for (std::vector<size_t>& shard : out.shards) std::ranges::sort(shard);
  return out;
}

void require_muon(const Job& job) {
  const Strategy& s = job.strategy;
  const auto refuse = [](const char* where, std::string problem, const char* hint) {
    throw Error(ErrorKind::not_modelled, where, std::move(problem), hint);
  };
  if (s.peft.kind != PeftKind::none)
    refuse("--optimizer", "Muon of adapters in Megatron-core is not modelled",
           "use --optimizer adam");
  if (job.model.head != ModelHead::causal_lm)
    refuse("--optimizer", "Muon of T5Model is not modelled", "use --optimizer adam");
  if (s.zero == 0) return;
  if (s.precision.weight != DType::bf16)
    refuse("--optimizer",
           "the layer-wise distributed optimizer, which --zero 1 is with Muon, is modelled for "
           "bf16 alone",
           "use --bf16");
  if (s.megatron.optimizer_instances > 1)
    refuse("--num-distributed-optimizer-instances",
           "several instances of the layer-wise distributed optimizer are not modelled",
           "leave it away");
  if (s.megatron.overlap_param_gather && !has_muon_buffers(s))
    refuse("--overlap-param-gather",
           "weights without a layout, which Muon's layer-wise distributed optimizer gathers under "
           "forward, are not modelled",
           "leave it away");
}

}  // namespace memplan::megatron
