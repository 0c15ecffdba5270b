// HybridStack's layers (core/ssm/{mamba_layer,mamba_mixer,mlp_layer}.py, 0.18).
#include "job/multiprocessors.h"
#include "lower/megatron/hybrid_blocks.h"
#include "lower/megatron/walk.h"
#include "memplan/error.h"
#include "ops/aten/ops.h"
#include "ops/mcore/pointwise.h"
#include "ops/mcore/state_space.h"

namespace memplan::megatron {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

namespace {

// A parameter that is its module's own: "mixer.A_log".
Tensor bare(const Params& p, std::string_view name) {
  const std::vector<Tensor> found = p.all(name);
  return found.empty() ? Tensor() : found.front();
}

// _ssm_training: [s, b, width] of the input projection -> [s, b, heads·head_dim].
Tensor scan(const Walk& w, const Params& p, const Tensor& projected) {
  const SsmSpec& ssm = w.model().ssm;
  const int64_t tp = w.group.size;
  const mcore::StateSpace space{.heads = ssm.heads / tp,
                                .head_dim = ssm.head_dim,
                                .groups = ssm.groups / tp,
                                .state = ssm.state,
                                .chunk = kMixerChunk,
                                .multiprocessors = multiprocessors(w.job.cluster.gpu)};
  Tensor y;
  {
    const Tensor rows = contiguous(transpose(projected, 0, 1));
    y = mcore::conv_scan(rows,
                         {.convolution = p.get(kMixerConvolution),
                          .convolution_bias = p.find(kMixerConvolution, "bias"),
                          .step = bare(p, kMixerStep),
                          .decay = bare(p, kMixerDecay),
                          .skip = bare(p, kMixerSkip)},
                         space);
    y = contiguous(transpose(y, 0, 1));
    y = mcore::gated_norm(y, p.get(kMixerGatedNorm), space);
  }
  return y;
}

Tensor mixer(const Walk& w, const Params& p, const Tensor& hidden) {
  const Tensor projected =
      mcore::norm_column_linear(hidden, p.norm(kMixerNorm), p.get(kMixerIn), {}, w.group);
  const Tensor y = scan(w, p, projected);
  return mcore::row_linear(y, p.get(kMixerOut), w.group);
}

}  // namespace

Tensor hybrid_layer(Walk& w, const Params& p, const LayerKind& kind, const Tensor& hidden) {
  if (w.strategy().peft.kind != PeftKind::none)
    throw Error(ErrorKind::not_modelled, "--peft", "adapters in hybrid models are not modelled",
                "leave it away");
  const double dropped = w.model().dropout.hidden;
  Tensor out, bias;
  switch (kind.form) {
    case LayerForm::ssm:
      out = mixer(w, p, hidden);
      break;
    case LayerForm::attention:
      out = attention(w, p, hidden);
      bias = p.find(w.row.attention.o, "bias");
      break;
    default:
      out = feed_forward(w, p, kind.moe, hidden);
      if (!kind.moe) bias = p.find(w.row.mlp.down, "bias");
  }
  return mcore::bias_dropout_add(out, bias, hidden, dropped);
}

}  // namespace memplan::megatron
