#include "ops/mcore/state_space.h"

#include <algorithm>
#include <bit>

#include "memplan/units.h"
#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::mcore {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

namespace {

constexpr std::string_view kConvolution = "causal_conv1d", kStep = "_chunk_cumsum",
                           kStates = "_chunk_state", kPassing = "_state_passing",
                           kProduct = "_bmm_chunk", kScan = "_chunk_scan", kNorm = "layernorm_fn";

// The tensors of one call, by their names in the kernels.
struct Kernels {
  Session& session;
  const StateSpace& space;
  int64_t batch, tokens;
  DType dtype;

  int64_t chunks() const { return ceil_div(tokens, space.chunk); }
  Tensor by_token(std::string_view op) const {
    return make(session, op, {batch, space.heads, chunks(), space.chunk}, DType::f32);
  }
  Tensor states(std::string_view op, DType wanted) const {
    return make(session, op, {batch, chunks(), space.heads, space.head_dim, space.state}, wanted);
  }
  Tensor last_state() const {
    return make(session, kPassing, {batch, space.heads, space.head_dim * space.state}, DType::f32);
  }
  Tensor products(int64_t parts) const {
    return make(session, kProduct, {batch, chunks(), parts, space.groups, space.chunk, space.chunk},
                DType::f32);
  }
  Tensor output() const { return make(session, kScan, {batch, tokens, space.width()}, dtype); }
  Tensor convolved() const {
    return make(session, kConvolution, {batch, tokens, space.channels()}, dtype);
  }
  // Of B or C over all heads of a group, in parts that are summed.
  Tensor group_gradient(int64_t parts) const {
    return make(session, kScan, {batch, tokens, parts, space.groups, space.state}, DType::f32);
  }
  // nsplits: heads of a group that different programs sum.
  int64_t parts() const {
    const int64_t ratio = space.heads / space.groups;
    const int64_t work = checked_mul(checked_mul(batch, chunks()), space.heads);
    const int64_t each =
        std::max<int64_t>(std::min(ceil_div(work, space.multiprocessors), ratio), 1);
    return ceil_div(ratio, each);
  }
};

// x, dt and A after their casts: dA_cumsum and dt of every token.
struct Steps {
  Tensor sums, dt;
};
Steps steps(const Kernels& k) {
  Steps out;
  out.dt = k.by_token(kStep);
  out.sums = k.by_token(kStep);
  return out;
}

// _chunk_state_fwd and _state_passing_fwd: states before each chunk, and the last.
struct Passed {
  Tensor states, last;
};
Passed pass_states(const Kernels& k, DType wanted) {
  const Tensor within = k.states(kStates, DType::f32);
  Passed out;
  out.states = k.states(kPassing, wanted);
  out.last = k.last_state();
  return out;
}

// A sum over parts is a tensor of its own, of one part as of many.
template <typename Make>
Tensor summed(const Make& make_parts, int64_t parts) {
  const Tensor apart = make_parts(parts);
  return make_parts(1);
}

// _mamba_chunk_scan_combined_bwd. Gradients of z, x, B, C and dt are parts of a tensor that its
// caller holds.
void scan_backward(const Kernels& k, const Tensor& dt_given) {
  const Tensor dt_in = make(k.session, "aten.clone.default", dt_given.sizes(), dt_given.dtype());
  const Steps step = steps(k);
  const Tensor products = k.products(1);
  Passed passed = pass_states(k, DType::f32);
  const Tensor ungated = k.output();  // dout_x
  Tensor gradient = k.states(kScan, DType::f32);
  {
    Tensor narrow = k.states(kPassing, k.dtype), converted = k.states(kPassing, k.dtype);
    gradient = std::move(narrow);
    passed.states = std::move(converted);
  }
  const Tensor ddt = k.by_token(kScan);
  const auto group = [&](int64_t parts) { return k.group_gradient(parts); };
  const Tensor next = k.by_token(kStates);
  const Tensor of_b = summed(group, k.parts());
  const Tensor before = k.by_token(kScan);
  const Tensor of_c = summed(group, k.parts());
  const Tensor of_products = summed([&](int64_t parts) { return k.products(parts); }, k.parts());
}

Tensor convolve_and_scan(const Kernels& k, Tensor& before_gate) {
  const Tensor convolved = k.convolved();
  const Steps step = steps(k);
  const Passed passed = pass_states(k, k.dtype);
  const Tensor products = k.products(1);
  Tensor out = k.output();
  before_gate = k.output();
  return out;
}

}  // namespace

Tensor conv_scan(const Tensor& zxbcdt, const ScanWeights& weights, const StateSpace& space) {
  Session& session = zxbcdt.session();
  const Kernels k{session, space, zxbcdt.size(0), zxbcdt.size(1), zxbcdt.dtype()};
  // A = -exp(A_log), and casts of small parameters
  const Tensor decay = make(session, "aten.exp.default", weights.decay.sizes(), DType::f32);
  const Tensor minus = make(session, "aten.neg.default", weights.decay.sizes(), DType::f32);
  const Tensor step = make(session, "aten._to_copy.default", weights.step.sizes(), DType::f32);
  Tensor before_gate;
  Tensor out = convolve_and_scan(k, before_gate);
  if (!tracks({&zxbcdt, &weights.convolution})) return out;
  const Saved kept(zxbcdt, ReadBy::kernel), kept_out(before_gate, ReadBy::kernel),
      kept_decay(decay), kept_minus(minus), kept_step(step);
  record({&out},
         {&zxbcdt, &weights.convolution, &weights.convolution_bias, &weights.step, &weights.decay,
          &weights.skip},
         [=, dtype = k.dtype, batch = k.batch, tokens = k.tokens](Grads& g) {
           const Kernels again{g.session(), space, batch, tokens, dtype};
           const Tensor input = kept.get(), ungated = kept_out.get(), a = kept_minus.get(),
                        exponential = kept_decay.get(), bias = kept_step.get();
           const Tensor convolved = again.convolved();
           Tensor gradient = make(g.session(), "aten.empty_like.default", input.sizes(), dtype);
           const Tensor of_convolved = again.convolved();
           scan_backward(again, slice(input.detach(), 2, input.size(2) - space.heads, space.heads));
           const Tensor* small[] = {&weights.convolution, &weights.convolution_bias, &weights.step,
                                    &weights.decay, &weights.skip};
           for (int i = 0; i < 5; ++i)
             if (*small[i] && g.wants(i + 1))
               g.set(i + 1, make(g.session(), kConvolution, small[i]->sizes(), small[i]->dtype()));
           g.set(0, std::move(gradient));
         });
  return out;
}

Tensor gated_norm(const Tensor& x, const Tensor& weight, const StateSpace& space) {
  Session& session = x.session();
  Tensor out = make(session, kNorm, x.sizes(), x.dtype());
  const Tensor rstd =
      make(session, kNorm, {checked_mul(space.groups, x.elements() / x.size(-1))}, DType::f32);
  if (!tracks({&x, &weight})) return out;
  const Saved kept(x), kept_rstd(rstd);
  record({&out}, {&x, &weight}, [=](Grads& g) {
    const Tensor input = kept.get(), scale = kept_rstd.get();
    Tensor dx = make(g.session(), kNorm, input.sizes(), input.dtype());
    // Rows of partial sums: four warps to a multiprocessor, a warp for 256 channels, at most eight.
    const int64_t block =
        static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(space.width() / space.groups)));
    const int64_t warps = std::min<int64_t>(std::max<int64_t>(block / 256, 1), 8);
    const int64_t rows = ceil_div(space.multiprocessors * ceil_div(4, warps), space.groups);
    const Tensor partial = make(g.session(), kNorm, {rows, space.width()}, DType::f32);
    g.set(1, make(g.session(), "aten.sum.dim_IntList", weight.sizes(), weight.dtype()));
    g.set(0, std::move(dx));
  });
  return out;
}

}  // namespace memplan::mcore
