#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::aten {

Tensor embedding(const Tensor& weight, const Tensor& indices) {
  const bool tracked = tracks(weight);
  Saved kept;
  if (tracked) kept = Saved(indices);
  Shape sizes = indices.sizes();
  sizes.at[static_cast<size_t>(sizes.dims++)] = weight.size(-1);
  Tensor out = allocate(weight.session(), sizes, weight.dtype());
  weight.session().ledger.note("aten.embedding.default");
  if (tracked)
    record({&out}, {&weight}, [kept, full = weight.sizes()](Grads& g) {
      const Tensor rows = kept.get();
      g.set(0, make(g.session(), "aten.embedding_dense_backward.default", full, g.in().dtype()));
    });
  return out;
}

// aten/src/ATen/native/cuda/layer_norm_kernel.cu: statistics of the accumulation type; on the CPU
// they are of the input's (torch/_refs/__init__.py, native_layer_norm).
Tensor layer_norm(const Tensor& given, const Tensor& weight, const Tensor& bias) {
  Session& session = given.session();
  // Autocast runs it in fp32 on CUDA and leaves it alone on the CPU (ATen/autocast_mode.h).
  const bool cuda = session.backend == Backend::cuda;
  const bool wide = cuda && session.autocast && given.dtype() != DType::f64;
  const Tensor x = wide ? to(given, DType::f32) : given;
  const Tensor w = wide && weight ? to(weight, DType::f32) : weight;
  const Tensor b = wide && bias ? to(bias, DType::f32) : bias;
  const bool tracked = tracks({&x, &w, &b});
  Saved kx, kw, km, kr;
  if (tracked) {
    kx = Saved(x);
    if (w) kw = Saved(w);
  }
  Shape rows = x.sizes();
  rows[-1] = 1;
  // The decomposition that fake tensors run did not see the CPU in torch 2.5.1.
  constexpr Version kFakeKnowsDevice{2, 6, 0};
  const bool accumulated = cuda || (session.fake_tensors && session.torch < kFakeKnowsDevice);
  const DType stats = accumulated ? DType::f32 : x.dtype();
  Tensor out = allocate(session, x.sizes(), x.dtype());
  Tensor mean = allocate(session, rows, stats);
  Tensor rstd = allocate(session, rows, stats);
  session.ledger.note("aten.native_layer_norm.default");
  if (!tracked) return out;
  km = Saved(mean);
  kr = Saved(rstd);
  record({&out}, {&x, &w, &b}, [kx, kw, km, kr](Grads& g) {
    const Tensor input = kx.get();
    const Tensor m = km.get();
    const Tensor r = kr.get();
    Tensor grads[3];
    if (g.wants(0)) grads[0] = allocate(g.session(), input.sizes(), input.dtype());
    const Shape width{input.size(-1)};
    for (int i : {1, 2})
      if (g.wants(i)) grads[i] = allocate(g.session(), width, kw.get().dtype());
    g.session().ledger.note("aten.native_layer_norm_backward.default");
    for (int i = 0; i < 3; ++i) g.set(i, std::move(grads[i]));
  });
  return out;
}

namespace {

Tensor log_softmax(const Tensor& x) {
  Tensor out = pointwise("aten._log_softmax.default", {&x}, x.dtype());
  if (tracks(x)) {
    const Saved kept(out);
    record({&out}, {&x}, [kept](Grads& g) {
      const Tensor result = kept.get();
      g.set(0, pointwise("aten._log_softmax_backward_data.default", {&result}, result.dtype()));
    });
  }
  return out;
}

Tensor nll_loss(const Tensor& x, const Tensor& labels, Reduction reduction) {
  const bool tracked = tracks(x);
  Saved kx, kl, kw;
  if (tracked) {
    kx = Saved(x);
    kl = Saved(labels);
  }
  const Shape rows = reduction == Reduction::none ? labels.sizes() : Shape{};
  Tensor out = allocate(x.session(), rows, x.dtype());
  Tensor total = allocate(x.session(), {}, x.dtype());
  x.session().ledger.note("aten.nll_loss_forward.default");
  if (!tracked) return out;
  kw = Saved(total);
  record({&out}, {&x}, [kx, kl, kw](Grads& g) {
    const Tensor input = kx.get();
    const Tensor target = kl.get();
    const Tensor weight = kw.get();
    g.set(0, pointwise("aten.nll_loss_backward.default", {&input}, input.dtype()));
  });
  return out;
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& labels, Reduction reduction) {
  const bool wide = logits.session().autocast.has_value();
  const Tensor x = wide ? to(logits, DType::f32) : logits;
  const Tensor log_probabilities = log_softmax(x);
  return nll_loss(log_probabilities, labels, reduction);
}

Tensor compiled_cross_entropy(const Tensor& logits, const Tensor& labels) {
  Session& session = logits.session();
  const Tensor out = allocate(session, {}, DType::f32);
  const Tensor highest = allocate(session, {logits.size(0), 1}, DType::f32);
  const Tensor log_sum = allocate(session, {logits.size(0), 1}, DType::f32);
  session.ledger.note("CompiledFunction");
  if (!tracks(logits)) return out;
  std::vector<Saved> kept;
  for (const Tensor& x : {logits, labels, highest, log_sum}) kept.emplace_back(x, ReadBy::kernel);
  Tensor result = out;
  record({&result}, {&logits}, [kept](Grads& g) {
    std::vector<Tensor> read;
    for (const Saved& x : kept) read.push_back(x.get());
    Tensor grad = allocate(g.session(), read.front().sizes(), read.front().dtype());
    g.session().ledger.note("CompiledFunctionBackward");
    g.set(0, std::move(grad));
  });
  return result;
}

}  // namespace memplan::aten
