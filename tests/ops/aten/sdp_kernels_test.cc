#include "ops/aten/sdp_kernels.h"

#include <doctest/doctest.h>

namespace memplan::aten {
namespace {

struct Call {
  int capability = 80;
  DType dtype = DType::bf16;
  int64_t heads = 8, kv_heads = 8, width = 64, value_width = 0;
  bool mask = false, gqa = false;
  double dropout = 0;
  Version torch{2, 14, 1};
};

SdpKernel chosen(const Call& c) {
  Session session(Backend::cuda, c.torch);
  session.compute_capability = c.capability;
  const Tensor q = allocate(session, {2, c.heads, 128, c.width}, c.dtype);
  const Tensor k = allocate(session, {2, c.kv_heads, 128, c.width}, c.dtype);
  const int64_t dv = c.value_width > 0 ? c.value_width : c.width;
  const Tensor v = allocate(session, {2, c.kv_heads, 128, dv}, c.dtype);
  SdpaOptions options;
  if (c.mask) options.mask = allocate(session, {2, 1, 128, 128}, DType::boolean);
  options.gqa = c.gqa;
  options.dropout = c.dropout;
  return sdp_kernel(q, k, v, options);
}

int64_t bytes(const std::vector<Tensor>& tensors) {
  int64_t out = 0;
  for (const Tensor& x : tensors) out += x.bytes();
  return out;
}

}  // namespace

TEST_CASE("sdp_kernel: the GPU, the mask and the dtype choose") {
  CHECK(chosen({}) == SdpKernel::flash);
  CHECK(chosen({.mask = true}) == SdpKernel::efficient);
  CHECK(chosen({.dtype = DType::f32}) == SdpKernel::efficient);
  CHECK(chosen({.width = 320}) == SdpKernel::efficient);
  CHECK(chosen({.capability = 75, .dtype = DType::f16}) == SdpKernel::efficient);
  CHECK(chosen({.capability = 75}) == SdpKernel::math);  // no bf16 kernel
  CHECK(chosen({.width = 192, .value_width = 128}) == SdpKernel::efficient);
  CHECK(chosen({.dtype = DType::f32, .width = 66}) == SdpKernel::math);  // 66 % 4 != 0
}

TEST_CASE("sdp_kernel: consumer GPUs train no heads of 193 to 224 with flash") {
  for (const int capability : {86, 89, 120}) {
    CHECK(chosen({.capability = capability, .width = 200}) == SdpKernel::efficient);
    CHECK(chosen({.capability = capability, .width = 256}) == SdpKernel::flash);
    CHECK(chosen({.capability = capability, .width = 256, .dropout = 0.1}) == SdpKernel::efficient);
  }
  CHECK(chosen({.width = 200}) == SdpKernel::flash);
}

TEST_CASE("sdp_kernel: cuDNN first on data-centre GPUs since torch 2.11") {
  CHECK(chosen({.capability = 90}) == SdpKernel::cudnn);
  CHECK(chosen({.capability = 100, .mask = true}) == SdpKernel::cudnn);
  CHECK(chosen({.capability = 90, .torch = {2, 10, 0}}) == SdpKernel::flash);
  CHECK(chosen({.capability = 120}) == SdpKernel::flash);
  CHECK(chosen({.capability = 90, .dropout = 0.1}) == SdpKernel::flash);  // no 16th
  CHECK(chosen({.capability = 90, .dropout = 0.125}) == SdpKernel::cudnn);
  CHECK(chosen({.capability = 90, .width = 192, .value_width = 128}) == SdpKernel::cudnn);
  CHECK(chosen({.capability = 90, .width = 256}) == SdpKernel::cudnn);
  CHECK(chosen({.capability = 90, .width = 256, .torch = {2, 13, 0}}) == SdpKernel::flash);
  CHECK(chosen({.capability = 90, .width = 100}) == SdpKernel::flash);
}

TEST_CASE("sdp_kernel: grouped queries without flash need torch 2.14") {
  Call call{.dtype = DType::f32, .kv_heads = 2, .gqa = true};
  CHECK(chosen(call) == SdpKernel::efficient);
  call.torch = {2, 13, 0};
  CHECK(chosen(call) == SdpKernel::math);
  CHECK(chosen({.kv_heads = 2, .gqa = true, .torch = {2, 6, 0}}) == SdpKernel::flash);
  CHECK(chosen({.kv_heads = 2}) == SdpKernel::math);
  CHECK(chosen({.kv_heads = 1}) == SdpKernel::flash);
  CHECK(chosen({.kv_heads = 1, .torch = {2, 13, 0}}) == SdpKernel::math);
}

TEST_CASE("sdp_backward_scratch: by pencil") {
  Session session(Backend::cuda, Version{2, 14, 1});
  const Tensor q = allocate(session, {1, 4, 100, 80}, DType::bf16);
  const Tensor k = allocate(session, {1, 2, 100, 80}, DType::bf16);
  // softmax_d 4·128, dq_accum 128·4·96 floats; dk, dv of 4 heads in bf16.
  CHECK(bytes(sdp_backward_scratch(SdpKernel::flash, q, k, k)) ==
        4 * 128 * 4 + 128 * 4 * 96 * 4 + 2 * 4 * 100 * 80 * 2);
  // softmax_sum 4·100, dQ_accum 4·100·80 floats.
  CHECK(bytes(sdp_backward_scratch(SdpKernel::cudnn, q, k, k)) == 4 * 100 * 4 + 4 * 100 * 80 * 4);
  // delta 4·100 floats; one tile of 128 × 128 and its 16 bytes a head; dk, dv of 4 heads.
  CHECK(bytes(sdp_backward_scratch(SdpKernel::efficient, q, k, k)) ==
        4 * 100 * 4 + 4 * (128 * 128 + 4) * 4 + 2 * 4 * 100 * 80 * 2);
  // In fp32: two tiles of 64 × 64 down, one across for 64-wide heads.
  const Tensor f = allocate(session, {1, 4, 100, 64}, DType::f32);
  CHECK(bytes(sdp_backward_scratch(SdpKernel::efficient, f, f, f)) ==
        4 * 100 * 4 + 4 * 2 * (64 * 64 + 4) * 4);
}

TEST_CASE("attention: heads of 100 are padded to 104 around flash") {
  Session session(Backend::cuda, Version{2, 14, 1});
  Tensor x = allocate(session, {1, 2, 16, 100}, DType::bf16);
  session.require_grad(x);
  const int64_t before = session.ledger.live();
  const Tensor out = scaled_dot_product_attention(x, x, x, {.mask = {}, .causal = true});
  CHECK(out.size(-1) == 100);
  // three padded inputs and the output; statistics; the generator's states of 16 and 8 bytes
  CHECK(session.ledger.live() - before == 4 * 2 * 16 * 104 * 2 + 2 * 16 * 4 + 24);
}

}  // namespace memplan::aten
