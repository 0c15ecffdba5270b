// torch.nn.functional.scaled_dot_product_attention and the kernels behind it
// (aten/src/ATen/native/transformers/attention.cpp).
#include <array>
#include <optional>
#include <utility>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"
#include "ops/aten/sdp_kernels.h"

namespace memplan::aten {
namespace {

// What a fused kernel keeps beside q, k, v, the output and the row statistics.
struct Kernel {
  std::string_view forward, backward;
  SdpKernel scratch = SdpKernel::math;
  bool like_q = true;            ///< the output copies q's layout, or it is (b, s, heads, d)
  int64_t lse_step = 1;          ///< statistics' rows are rounded up to this
  std::array<int64_t, 2> rng{};  ///< elements of the generator's two tensors, int64, on the GPU
};
constexpr Kernel kCpu{"aten._scaled_dot_product_flash_attention_for_cpu.default",
                      "aten._scaled_dot_product_flash_attention_for_cpu_backward.default"};
constexpr Kernel kFlash{.forward = "aten._scaled_dot_product_flash_attention.default",
                        .backward = "aten._scaled_dot_product_flash_attention_backward.default",
                        .scratch = SdpKernel::flash,
                        .rng = {2, 1}};
// The package's own function has one state of the generator (csrc/flash_attn/flash_api.cpp).
constexpr Kernel kFlash2{.forward = "flash_attn._flash_attn_forward.default",
                         .backward = "flash_attn._flash_attn_backward.default",
                         .scratch = SdpKernel::flash,
                         .rng = {2, 0}};
// Its seed and offset are the CPU's (attention_backward.cu reads them there); kAlignLSE.
constexpr Kernel kEfficient{
    .forward = "aten._scaled_dot_product_efficient_attention.default",
    .backward = "aten._scaled_dot_product_efficient_attention_backward.default",
    .scratch = SdpKernel::efficient,
    .like_q = false,
    .lse_step = 32};
constexpr Kernel kCudnn{.forward = "aten._scaled_dot_product_cudnn_attention.default",
                        .backward = "aten._scaled_dot_product_cudnn_attention_backward.default",
                        .scratch = SdpKernel::cudnn,
                        .rng = {1, 1}};

constexpr Kernel kFlex{
    .forward = "flex_attention", .backward = "flex_attention_backward", .scratch = SdpKernel::flex};

// [b, heads, s, d] laid out as (b, s, heads, d).
Tensor heads_inside(Session& session, const Shape& sizes, DType dtype) {
  const Shape inner{sizes[0], sizes[2], sizes[1], sizes[3]};
  const Shape strides = contiguous_strides(inner);
  return allocate(session, sizes, {strides[0], strides[2], strides[1], strides[3]}, dtype);
}

Tensor fused(const Kernel& kernel, const Tensor& q, const Tensor& k, const Tensor& v,
             const Tensor& mask) {
  Session& session = q.session();
  const bool tracked = tracks({&q, &k, &v});
  Saved kq, kk, kv, km, ko, kl;
  std::array<Saved, 2> kr;
  if (tracked) {
    if (mask) km = Saved(mask);
    kk = Saved(k, ReadBy::kernel);
    kq = Saved(q, ReadBy::kernel);
    kv = Saved(v, ReadBy::kernel);
  }
  Shape sizes = q.sizes();
  sizes[-1] = v.size(-1);
  // The flash kernel's output copies q's layout (at::empty_like), and so does that of the CPU's
  // under fake tensors (torch/_meta_registrations.py); the other's is (b, s, heads, d).
  std::vector<Tensor> results = checkpointed_results(session, kernel.forward, [&] {
    std::vector<Tensor> made;
    made.push_back(kernel.like_q && q.is_dense() ? allocate(session, sizes, q.strides(), q.dtype())
                                                 : heads_inside(session, sizes, q.dtype()));
    const int64_t lse_rows = ceil_div(q.size(2), kernel.lse_step) * kernel.lse_step;
    made.push_back(allocate(session, {q.size(0), q.size(1), lse_rows}, DType::f32));
    for (const int64_t elements : kernel.rng)
      made.push_back(elements > 0 ? allocate(session, {elements}, DType::i64) : Tensor());
    session.ledger.note(kernel.forward);
    return made;
  });
  Tensor out = std::move(results[0]);
  const Tensor lse = std::move(results[1]);
  const std::array<Tensor, 2> rng{std::move(results[2]), std::move(results[3])};
  if (!tracked) return out;
  kl = Saved(lse, ReadBy::kernel);
  ko = Saved(out, ReadBy::kernel);
  for (size_t i = 0; i < rng.size(); ++i)
    if (rng[i]) kr[i] = Saved(rng[i]);
  record({&out}, {&q, &k, &v}, [kernel = &kernel, kq, kk, kv, km, ko, kl, kr](Grads& g) {
    const Tensor sq = kq.get();
    const Tensor sk = kk.get();
    const Tensor sv = kv.get();
    const Tensor so = ko.get();
    const Tensor sl = kl.get();
    Session& s = g.session();
    std::vector<Tensor> scratch;
    if (!s.watched) scratch = sdp_backward_scratch(kernel->scratch, sq, sk, sv);
    Tensor dq = heads_inside(s, sq.sizes(), sq.dtype());
    Tensor dk = heads_inside(s, sk.sizes(), sk.dtype());
    Tensor dv = heads_inside(s, sv.sizes(), sv.dtype());
    s.ledger.note(kernel->backward);
    g.set(0, std::move(dq));
    g.set(1, std::move(dk));
    g.set(2, std::move(dv));
  });
  return out;
}

// A bool mask becomes one of 0 and -inf in the queries' dtype (convert_boolean_attn_mask).
Tensor additive(const Tensor& mask, DType dtype) {
  if (!mask || mask.dtype() != DType::boolean) return mask;
  const Tensor zero = make(mask.session(), "aten.scalar_tensor.default", {}, dtype);
  const Tensor lowest = make(mask.session(), "aten.scalar_tensor.default", {}, dtype);
  return where(mask, zero, lowest);
}

// constant_pad_nd of the last dimension up to a multiple of 8.
Tensor pad_to_8(const Tensor& x) {
  const int64_t width = x.size(-1);
  if (width % 8 == 0) return x;
  Shape sizes = x.sizes();
  sizes[-1] = ceil_div(width, 8) * 8;
  Tensor out = make(x.session(), "aten.constant_pad_nd.default", sizes, x.dtype());
  if (tracks(x))
    record({&out}, {&x}, [sizes = x.sizes()](Grads& g) {
      Tensor grad = allocate(g.session(), sizes, g.in().dtype());
      g.session().ledger.note("aten.constant_pad_nd.default");
      g.set(0, std::move(grad));
    });
  return out;
}

// The memory-efficient kernel reads masks whose rows start at multiples of 8 (preprocess_mask).
Tensor aligned(const Tensor& mask) {
  if (!mask || mask.size(-1) % 8 == 0) return mask;
  const Tensor padded = pad_to_8(mask);
  return slice(padded, -1, 0, mask.size(-1));
}

// Heads whose width is no multiple of 8 are padded around the kernel (pad_last_dim).
Tensor flash(const Tensor& q, const Tensor& k, const Tensor& v) {
  const int64_t width = q.size(-1);
  if (width % 8 == 0) return fused(kFlash, q, k, v, {});
  const Tensor wide_q = pad_to_8(q), wide_k = pad_to_8(k), wide_v = pad_to_8(v);
  const Tensor out = fused(kFlash, wide_q, wide_k, wide_v, {});
  return slice(out, -1, 0, width);
}

// An operator that autocast has cast the arguments of runs without autocast.
class NoAutocast {
 public:
  explicit NoAutocast(Session& session)
      : session_(session), before_(std::exchange(session.autocast, std::nullopt)) {}
  ~NoAutocast() { session_.autocast = before_; }
  NoAutocast(const NoAutocast&) = delete;
  NoAutocast& operator=(const NoAutocast&) = delete;

 private:
  Session& session_;
  std::optional<DType> before_;
};

// repeat_interleave of the heads (pre_process_group_query_attention_input).
Tensor repeat_heads(const Tensor& x, int64_t groups) {
  if (groups == 1) return x;
  const int64_t b = x.size(0), heads = x.size(1), s = x.size(2), d = x.size(3);
  const Tensor apart = unsqueeze(x, 2);
  const Tensor wide = expand(apart, {b, heads, groups, s, d});
  const Tensor copy = clone(wide);
  return view(copy, {b, heads * groups, s, d});
}

// _scaled_dot_product_attention_math: in fp32, queries and keys scaled before their product. The
// weights are returned too, in the inputs' dtype, and dropped by the caller.
Tensor math(const Tensor& query, const Tensor& key, const Tensor& value, const SdpaOptions& o) {
  Session& session = query.session();
  const NoAutocast off(session);
  const DType dtype = query.dtype();
  const DType inner = size_of(dtype) == 2 ? DType::f32 : dtype;
  const Tensor q = to(query, inner);
  const Tensor k = to(key, inner);
  const Tensor v = to(value, inner);
  const Tensor scaled_q = mul_scalar(q);
  Tensor mask = o.mask;
  if (o.causal) {
    const Tensor ones = make(session, "aten.ones.default", {q.size(2), k.size(2)}, DType::boolean);
    mask = make(session, "aten.tril.default", ones.sizes(), DType::boolean);
  }
  mask = additive(mask, inner);
  const int64_t groups = o.gqa ? q.size(1) / k.size(1) : 1;
  const Tensor keys = repeat_heads(k, groups);
  const Tensor values = repeat_heads(v, groups);
  Tensor weights;
  {
    const Tensor kt = transpose(keys, -2, -1);
    const Tensor scaled_k = mul_scalar(kt);
    weights = matmul(scaled_q, scaled_k);
  }
  if (mask) weights = session.watched ? add(weights, mask) : add_in_place(weights, mask);
  weights = softmax(weights);
  weights = dropout(weights, o.dropout);
  const Tensor narrow = to(weights, dtype);
  const Tensor out = matmul(weights, values);
  return to(out, dtype);
}

}  // namespace

Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const SdpaOptions& given) {
  Session& session = query.session();
  const Tensor v = session.cast_for_autocast(value);
  const Tensor k = session.cast_for_autocast(key);
  const Tensor q = session.cast_for_autocast(query);
  SdpaOptions o = given;
  if (session.backend == Backend::cpu) {
    if (!cpu_kernel_runs(q, k, v, o)) return math(q, k, v, o);
    o.mask = additive(o.mask, q.dtype());
    return fused(kCpu, q, k, v, o.mask);
  }
  switch (sdp_kernel(q, k, v, o)) {
    case SdpKernel::flash:
      return flash(q, k, v);
    case SdpKernel::cudnn:
      return fused(kCudnn, q, k, v, additive(o.mask, q.dtype()));
    case SdpKernel::efficient:
      return fused(kEfficient, q, k, v, aligned(additive(o.mask, q.dtype())));
    case SdpKernel::flex:  // is called by itself
    case SdpKernel::math:
      break;
  }
  return math(q, k, v, o);
}

Tensor flex_attention(const Tensor& q, const Tensor& k, const Tensor& v) {
  return fused(kFlex, q, k, v, {});
}

Tensor flash_attention_2(const Tensor& q, const Tensor& k, const Tensor& v, double) {
  const Tensor heads_q = transpose(q, 1, 2), heads_k = transpose(k, 1, 2),
               heads_v = transpose(v, 1, 2);
  const Tensor out = fused(kFlash2, heads_q, heads_k, heads_v, {});
  return transpose(out, 1, 2);
}

}  // namespace memplan::aten
