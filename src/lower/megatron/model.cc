// GPTModel around its layers (core/models/gpt/gpt_model.py, core/models/common/embeddings/
// language_model_embedding.py, core/tensor_parallel/layers.py, pretrain_gpt.py; 0.18).
#include "lower/megatron/walk.h"
#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"
#include "ops/mcore/cross_entropy.h"
#include "policy/megatron_fp8.h"

namespace memplan::megatron {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

namespace {

using mcore::AttentionBackend;
using Wanted = MegatronSpec::Attention;

// What Transformer Engine picks where nobody says (utils.py, get_attention_backend): flash-attn
// before Hopper, cuDNN from there on, but not on Blackwell where its backward must be
// deterministic; neither takes fp32.
AttentionBackend backend_of(const Job& job) {
  const MegatronSpec& m = job.strategy.megatron;
  if (m.local || m.attention == Wanted::local) return AttentionBackend::local;
  if (job.strategy.precision.activation == DType::f32) return AttentionBackend::unfused;
  switch (m.attention) {
    case Wanted::flash:
      return AttentionBackend::flash;
    case Wanted::fused:
      return AttentionBackend::fused;
    case Wanted::unfused:
      return AttentionBackend::unfused;
    default:
      break;
  }
  const int major = job.cluster.gpu.compute_major;
  const bool fused = major >= 9 && !(major >= 10 && m.deterministic);
  return fused ? AttentionBackend::fused : AttentionBackend::flash;
}

bool exchanges_heads(const Strategy& s) { return s.cp > 1 && s.megatron.cp_communication == "a2a"; }

// VocabParallelEmbedding: rows of other ranks are looked up as row 0 and set to zero.
Tensor word_embeddings(const Walk& w, const Tensor& weight, const Tensor& tokens) {
  Tensor rows = tokens;
  Tensor elsewhere;
  if (w.group.size > 1) {
    elsewhere = make(w.session, "aten.bitwise_or.Tensor", rows.sizes(), DType::boolean);
    rows = make(w.session, "aten.sub.Tensor", rows.sizes(), DType::i64);
  }
  return embedding(weight, rows);
}

// mappings.py, _ReduceScatterToSequenceParallelRegion
Tensor scatter_sum(const Walk& w, const Tensor& x) {
  Tensor out = mcore::reduce_scatter(x, w.group);
  if (tracks(x))
    record({&out}, {&x},
           [group = w.group](Grads& g) { g.set(0, mcore::all_gather(g.in(), group)); });
  return out;
}

// mappings.py, _ScatterToSequenceParallelRegion: a rank's part, and clone_scatter_output.
Tensor scatter(const Walk& w, const Tensor& x) {
  const Tensor part = slice(x.detach(), 0, 0, x.size(0) / w.group.size);
  Tensor out = clone(part);
  if (tracks(x))
    record({&out}, {&x},
           [group = w.group](Grads& g) { g.set(0, mcore::all_gather(g.in(), group)); });
  return out;
}

}  // namespace

Shape Walk::stream() const {
  const int64_t parts = group.gathers() ? group.size : 1;
  return {sequence() / parts, job.strategy.micro_batch, job.model.hidden};
}

Walk make_walk(Session& session, const Job& job, int64_t* buffer) {
  const Strategy& s = job.strategy;
  const MegatronSpec& m = s.megatron;
  Walk w{.session = session, .job = job, .row = family_row(job.model)};
  w.group = {.size = s.tp,
             .sequence_parallel = s.sequence_parallel,
             .fused_wgrad = m.gradient_accumulation_fusion,
             .local = m.local,
             .buffer = buffer,
             .fp8 = m.fp8,
             .fp8_delayed = m.fp8_delayed,
             .fp8_transposes = fp8_transposes(job.cluster.gpu),
             .overlap = m.tp_overlap};
  w.attention = {.backend = backend_of(job),
                 .dropout = job.model.dropout.attention,
                 .fused_softmax = m.masked_softmax_fusion && s.precision.activation != DType::f32,
                 .softmax_in_fp32 = m.softmax_in_fp32,
                 .exchange = exchanges_heads(s) ? s.cp : 1};
  return w;
}

Tensor embed(Walk& w, const Params& p, const Tensor& tokens) {
  const Tensor words = word_embeddings(w, p.get(w.row.embedding), tokens);
  const bool learned = !w.row.positions.empty();
  const bool parallel = w.group.gathers();
  Tensor x = words;
  Tensor positions;
  if (learned) {
    const Tensor ids = make(w.session, "aten.arange.default", tokens.sizes(), DType::i64);
    positions = embedding(p.get(w.row.positions), ids);
    x = add(words, positions);
  }
  x = contiguous(transpose(x, 0, 1));
  if (parallel) x = learned ? scatter(w, x) : scatter_sum(w, x);
  return dropout(x, w.model().dropout.hidden);
}

Tensor token_losses(const Walk& w, const Tensor& output, const Tensor& bias, Tensor hidden,
                    const Tensor& labels, Tensor* held) {
  // ColumnParallelLinear of Megatron-core, whatever the layers' spec.
  mcore::Group group = w.group;
  group.local = true;
  Tensor logits = mcore::column_linear(hidden, output, bias, group);
  hidden.reset();
  if (held != nullptr) *held = logits;
  const Tensor columns = contiguous(transpose(labels, 0, 1));
  const MegatronSpec& m = w.strategy().megatron;
  Tensor losses = mcore::cross_entropy(logits, columns, m.cross_entropy, m.transformer_engine);
  losses = contiguous(transpose(losses, 0, 1));
  return losses;
}

Tensor final_norm(const Walk& w, const Params& p, const Tensor& hidden) {
  return mcore::norm(hidden, p.norm(w.row.final_norm));
}

Tensor head(const Walk& w, const Params& p, const Tensor& output, Tensor hidden) {
  const Tensor bias = p.find(w.row.head, "bias");
  Tensor losses = token_losses(w, output, bias, std::move(hidden), w.labels);
  losses = mul(losses, w.loss_mask);
  return sum(losses);
}

}  // namespace memplan::megatron
