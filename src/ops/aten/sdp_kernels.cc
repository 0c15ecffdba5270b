#include "ops/aten/sdp_kernels.h"

#include <algorithm>
#include <cmath>

namespace memplan::aten {
namespace {

bool is_half(const Tensor& x) { return x.dtype() == DType::bf16 || x.dtype() == DType::f16; }

int64_t round_up(int64_t n, int64_t step) { return ceil_div(n, step) * step; }

// Multi-query keys without enable_gqa, and grouped queries in the memory-efficient kernel, came
// together (pytorch/pytorch#191085; the headers of 2.14.1 have them).
constexpr Version kBroadcastsHeads{2, 14, 0};
// cuDNN goes first on compute capability 9 and 10 once its version is above 9.15.0
// (check_prefer_cudnn_attention); wheels bring such a cuDNN since 2.11, and one above 9.22, which
// knows heads of 256, in 2.14.1 (9.24).
constexpr Version kPrefersCudnn{2, 11, 0}, kCudnnHeads256{2, 14, 0};

// check_batch_size_and_num_heads_dense
bool heads_fit(const Session& s, const Tensor& q, const Tensor& k, const SdpaOptions& o,
               bool supports_gqa) {
  if (q.size(0) != k.size(0)) return false;
  if (q.size(1) == k.size(1)) return true;
  if (o.gqa && supports_gqa) return q.size(1) % k.size(1) == 0;
  return k.size(1) == 1 && !(s.torch < kBroadcastsHeads);
}

bool half_supported(const Session& s, const Tensor& q) {
  return q.dtype() == DType::f16 || (q.dtype() == DType::bf16 && s.compute_capability >= 80);
}

bool cudnn_runs(const Session& s, const Tensor& q, const Tensor& k, const Tensor& v,
                const SdpaOptions& o) {
  if (!o.cudnn_first && !prefers_cudnn(s.torch, s.compute_capability)) return false;
  if (s.compute_capability < 80) return false;  // check_cudnn_hardware_support
  if (!is_half(q) || !heads_fit(s, q, k, o, true)) return false;
  const double sixteenths = o.dropout * 16;
  if (sixteenths != std::floor(sixteenths)) return false;
  const int64_t d = q.size(-1), dv = v.size(-1);
  if (d % 8 != 0 || dv % 8 != 0 || k.size(2) == 1) return false;
  if (d == 256 && dv == 256) return !(s.torch < kCudnnHeads256);
  return (d <= 128 && dv <= 128) || (d == 192 && dv == 128);
}

bool flash_runs(const Session& s, const Tensor& q, const Tensor& k, const Tensor& v,
                const SdpaOptions& o) {
  const int cc = s.compute_capability;
  const int64_t d = q.size(-1);
  if (o.mask || cc < 80 || !is_half(q) || d > 256 || d != v.size(-1)) return false;
  if (((cc >= 86 && cc <= 89) || cc >= 120) && d > 192 && !(o.dropout == 0 && d > 224))
    return false;
  return heads_fit(s, q, k, o, true);
}

bool efficient_runs(const Session& s, const Tensor& q, const Tensor& k, const Tensor& v,
                    const SdpaOptions& o) {
  const int cc = s.compute_capability;
  if (q.dtype() != DType::f32 && !half_supported(s, q)) return false;
  int64_t alignment = cc >= 80 ? 4 : 1;
  if (cc >= 80 || (cc >= 70 && is_half(q)))
    alignment = std::max(alignment, int64_t{16} / size_of(q.dtype()));
  if (q.size(-1) % alignment != 0 || v.size(-1) % alignment != 0) return false;
  return heads_fit(s, q, k, o, !(s.torch < kBroadcastsHeads));
}

// Keys' and values' gradients for every query head, summed afterwards.
void add_expanded(std::vector<Tensor>& out, const Tensor& q, const Tensor& k, const Tensor& v) {
  if (k.size(1) == q.size(1)) return;
  for (const Tensor* x : {&k, &v})
    out.push_back(
        allocate(q.session(), {q.size(0), q.size(1), x->size(2), x->size(3)}, x->dtype()));
}

// flash-attention, csrc/flash_attn/flash_api.cpp, mha_bwd: softmax_d, dq_accum, dk and dv expanded.
std::vector<Tensor> flash_scratch(const Tensor& q, const Tensor& k, const Tensor& v) {
  Session& session = q.session();
  const int64_t b = q.size(0), heads = q.size(1), d = q.size(3), rows = round_up(q.size(2), 128);
  const int64_t wide = round_up(d, d <= 128 ? 32 : 64);
  std::vector<Tensor> out;
  out.push_back(allocate(session, {b, heads, rows}, DType::f32));
  out.push_back(allocate(session, {b, rows, heads, wide}, DType::f32));
  add_expanded(out, q, k, v);
  return out;
}

// cudnn-frontend, node/scaled_dot_product_flash_attention.h: softmax_sum and dQ_accum of the
// backward's workspace. What the chosen plan adds to it only cuDNN knows.
std::vector<Tensor> cudnn_scratch(const Tensor& q) {
  Session& session = q.session();
  std::vector<Tensor> out;
  out.push_back(allocate(session, {q.size(0), q.size(1), q.size(2)}, DType::f32));
  out.push_back(allocate(session, q.sizes(), DType::f32));
  return out;
}

// The tile of queries × keys that a backward kernel of cutlass works on
// (mem_eff_attention/kernels/cutlassB.h), and whether it sums dk and dv in registers.
struct Tile {
  int64_t queries, keys;
  bool in_registers;
};

Tile efficient_tile(int cc, bool half, int64_t width) {
  if (width <= 64) return {64, 64, half};
  if (!half) return {128, 64, false};
  // 128 × 128 tiles want more shared memory than the 99 KiB of these GPUs.
  const bool small = (cc >= 86 && cc <= 89) || cc >= 120;
  if (width <= 96 && small) return {128, 64, true};
  if (width <= 128 && cc >= 80) return small ? Tile{64, 64, false} : Tile{128, 128, true};
  return {128, 64, width <= 128};
}

// attention_backward.cu, _efficient_attention_backward: delta, and kernel_backward.h's workspace.
std::vector<Tensor> efficient_scratch(const Tensor& q, const Tensor& k, const Tensor& v) {
  Session& session = q.session();
  const int64_t b = q.size(0), heads = q.size(1), s = q.size(2), d = q.size(3), dv = v.size(3);
  const bool half = is_half(q);
  const Tile tile = efficient_tile(session.compute_capability, half, std::max(d, dv));
  constexpr int64_t kLocks = 4;  // 16 bytes of lock and counter before each tile's sums
  int64_t floats =
      ceil_div(s, tile.queries) * ceil_div(d, tile.keys) * (tile.queries * tile.keys + kLocks);
  if (half && !tile.in_registers) {
    const int64_t splits =
        std::clamp(200 / (b * heads), int64_t{1}, ceil_div(k.size(2), tile.keys));
    floats += splits * tile.keys * (round_up(d, tile.queries) + round_up(dv, tile.queries));
  }
  std::vector<Tensor> out;
  out.push_back(allocate(session, {b, heads, s}, DType::f32));
  out.push_back(allocate(session, {b, heads, round_up(floats, 4)}, DType::f32));
  add_expanded(out, q, k, v);
  return out;
}

// Inductor's delta and grad_lse_exp2, both realized (torch/_inductor/kernel/flex_attention.py, 2.5,
// flex_attention_backward).
std::vector<Tensor> flex_scratch(const Tensor& q) {
  const Shape rows{q.size(0), q.size(1), q.size(2)};
  return {allocate(q.session(), rows, DType::f32), allocate(q.session(), rows, DType::f32)};
}

}  // namespace

bool prefers_cudnn(Version torch, int compute_capability) {
  const int major = compute_capability / 10;
  return !(torch < kPrefersCudnn) && (major == 9 || major == 10);
}

bool cpu_kernel_runs(const Tensor& q, const Tensor& k, const Tensor& v, const SdpaOptions& o) {
  return o.dropout == 0 && q.size(-1) == v.size(-1) && heads_fit(q.session(), q, k, o, true);
}

SdpKernel sdp_kernel(const Tensor& q, const Tensor& k, const Tensor& v, const SdpaOptions& o) {
  const Session& s = q.session();
  if (cudnn_runs(s, q, k, v, o)) return SdpKernel::cudnn;
  if (flash_runs(s, q, k, v, o)) return SdpKernel::flash;
  return !o.cudnn_first && efficient_runs(s, q, k, v, o) ? SdpKernel::efficient : SdpKernel::math;
}

std::vector<Tensor> sdp_backward_scratch(SdpKernel kernel, const Tensor& q, const Tensor& k,
                                         const Tensor& v) {
  switch (kernel) {
    case SdpKernel::flash:
      return flash_scratch(q, k, v);
    case SdpKernel::efficient:
      return efficient_scratch(q, k, v);
    case SdpKernel::cudnn:
      return cudnn_scratch(q);
    case SdpKernel::flex:
      return flex_scratch(q);
    case SdpKernel::math:
      break;
  }
  return {};
}

}  // namespace memplan::aten
