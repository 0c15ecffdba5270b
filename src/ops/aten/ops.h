// PyTorch's operators: what each allocates, what autograd keeps of it, what its backward allocates.
//
// Facts are those of tools/autograd/derivatives.yaml and aten/src/ATen/native, torch 2.14, seen in
// program order by a TorchDispatchMode. Names are ATen's. Gradients of one node are made in the
// alphabetical order of the derivatives' names (tools/autograd/load_derivatives.py).
#pragma once

#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/aten/autograd.h"
#include "ops/aten/session.h"
#include "ops/aten/tensor.h"

namespace memplan::aten {

// --- pointwise ----------------------------------------------------------------------------------

/// A TensorIterator kernel without history: broadcasts sizes, keeps the inputs' order of
/// dimensions (aten/src/ATen/TensorIterator.cpp, reorder_dimensions).
Tensor pointwise(std::string_view op, std::initializer_list<const Tensor*> inputs, DType dtype);
/// c10::promoteTypes of tensors that have dimensions.
DType promote(DType a, DType b);

Tensor to(const Tensor& x, DType dtype);  ///< the same tensor where nothing changes
Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);
/// That of a / b, where b is kept and a too if b wants a gradient.
Backward div_backward(const Saved& a, const Saved& b);
/// With a Python number: nothing is kept.
Tensor add_scalar(const Tensor& x);
Tensor mul_scalar(const Tensor& x);
Tensor div_scalar(const Tensor& x);
enum class Alpha : uint8_t { one, other };
/// x += alpha · y where autograd allows it: no new storage.
Tensor add_in_place(Tensor x, const Tensor& y, Alpha alpha = Alpha::one);
Tensor neg(const Tensor& x);
Tensor pow_scalar(const Tensor& x);  ///< exponent above 1: keeps x
Tensor rsqrt(const Tensor& x);
Tensor mean_last(const Tensor& x);  ///< over the last dimension, which stays as 1
Tensor sum_last(const Tensor& x);   ///< the same, sum
Tensor sum_dim(const Tensor& x, int dim);
Tensor sum(const Tensor& x);         ///< of all elements; those of integers and booleans are int64
Tensor mean(const Tensor& x);        ///< of all elements
Tensor mean_first(const Tensor& x);  ///< over the first dimension, which goes
/// An activation that keeps its input (silu, gelu…) or its result (relu, tanh, sigmoid), by name:
/// "silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "tanh", "sigmoid"; gelu_new is
/// transformers' composite of eight operators. Throws Error{not_modelled} on another.
Tensor activation(const Tensor& x, std::string_view name);
Tensor tanh(const Tensor& x);
Tensor sigmoid(const Tensor& x);
Tensor softmax(const Tensor& x);  ///< over the last dimension
/// nn.functional.softmax(x, dim=-1, dtype=float32)
Tensor softmax_f32(const Tensor& x);
Tensor dropout(const Tensor& x, double p);
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
Tensor masked_fill(const Tensor& x, const Tensor& mask);
/// torch.max(x, torch.tensor(number)): keeps both.
Tensor maximum_of_number(const Tensor& x);
Tensor clone(const Tensor& x);  ///< contiguous
/// A new tensor made from nothing (arange, zeros, full): `op` names it.
Tensor make(Session& session, std::string_view op, const Shape& sizes, DType dtype);

// --- views --------------------------------------------------------------------------------------

Tensor view(const Tensor& x, const Shape& sizes);     ///< sizes must be viewable
Tensor reshape(const Tensor& x, const Shape& sizes);  ///< a view, or a copy where it cannot be
bool viewable(const Tensor& x, const Shape& sizes);
Tensor transpose(const Tensor& x, int a, int b);
Tensor permute(const Tensor& x, std::initializer_list<int> order);
Tensor t(const Tensor& x);
Tensor expand(const Tensor& x, const Shape& sizes);
Tensor unsqueeze(const Tensor& x, int dim);
Tensor squeeze(const Tensor& x, int dim);
Tensor slice(const Tensor& x, int dim, int64_t start, int64_t length, int64_t step = 1);
/// x[…, :, :]: `count` whole dimensions, which older torch slices.
Tensor every(const Tensor& x, int count);
Tensor select(const Tensor& x, int dim);  ///< one index of a dimension, which goes
/// x[rows, columns] by int64 tensors [n]: keeps them; backward fills a tensor of zeros.
Tensor index_pairs(const Tensor& x, const Tensor& rows, const Tensor& columns);
/// Views of consecutive stretches of a dimension: one node, whose backward is a cat.
std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& lengths, int dim = -1);
Tensor contiguous(const Tensor& x);
Tensor cat(std::span<const Tensor> parts, int dim = -1);
/// torch.stack of two tensors of equal sizes into a new last dimension.
Tensor stack_last(const Tensor& a, const Tensor& b);

// --- matrix products ----------------------------------------------------------------------------

Tensor mm(const Tensor& a, const Tensor& b);
Tensor bmm(const Tensor& a, const Tensor& b);
Tensor addmm(const Tensor& bias, const Tensor& a, const Tensor& b);
/// torch.matmul of tensors of up to four dimensions.
Tensor matmul(const Tensor& a, const Tensor& b);
/// nn.functional.linear: weight [out, in]; `bias` may be empty. Autocast applies.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias);
/// nn.functional.conv1d of kernels of width 1: x [b, c, s], weight [out, c/groups, 1].
Tensor convolution1d(const Tensor& x, const Tensor& weight, int64_t groups);
/// transformers' Conv1D: weight [in, out].
Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias);

// --- layers -------------------------------------------------------------------------------------

Tensor embedding(const Tensor& weight, const Tensor& indices);
/// weight and bias may be empty. Statistics are fp32 on CUDA; on the CPU, of the input's dtype.
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias);

struct SdpaOptions {
  Tensor mask;  ///< bool or additive; empty: none
  bool causal = false;
  double dropout = 0;
  bool gqa = false;  ///< enable_gqa
  /// sdpa_kernel([CUDNN_ATTENTION, FLASH_ATTENTION, MATH], set_priority=True)
  bool cudnn_first = false;
};
/// q, k, v: [b, heads, s, d].
Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const SdpaOptions& options);
/// torch.compile(flex_attention), torch 2.5: q, k, v: [b, heads, s, d]; its mask's tensors are the
/// caller's.
Tensor flex_attention(const Tensor& q, const Tensor& k, const Tensor& v);
/// FlashAttention 2's own package: q, k, v [b, s, heads, d].
Tensor flash_attention_2(const Tensor& q, const Tensor& k, const Tensor& v, double dropout);

enum class Reduction : uint8_t { mean, sum, none };
/// nn.functional.cross_entropy: logits [N, V], labels [N]. Not reduced, it is [N].
Tensor cross_entropy(const Tensor& logits, const Tensor& labels,
                     Reduction reduction = Reduction::mean);
/// torch.compile of that, summed, of logits.float(): it keeps the logits themselves and two
/// statistics of each row, and makes nothing of their size but their gradient (torch 2.5,
/// torch/_functorch/partitioners.py with Inductor's decompositions).
Tensor compiled_cross_entropy(const Tensor& logits, const Tensor& labels);

// --- writing into tensors -----------------------------------------------------------------------

/// x[…, indices] = values. Nobody wants x's gradient.
Tensor index_put_in_place(const Tensor& x, const Tensor& indices, const Tensor& values);
/// The same in a copy of x.
Tensor index_put(const Tensor& x, const Tensor& indices, const Tensor& values);
/// x.index_copy(0, indices, rows): x again with these rows. Nobody wants x's gradient.
Tensor index_copy(const Tensor& x, const Tensor& indices, const Tensor& rows);
/// x.repeat(times), as many as x has dimensions.
Tensor repeat(const Tensor& x, std::initializer_list<int64_t> times);
/// torch.block_diag of the matrices of a batch [n, a, b].
Tensor block_diagonal(const Tensor& x);
/// torch.linalg.solve(a, b, left=False) of batches of square matrices.
Tensor solve_right(const Tensor& a, const Tensor& b);

// --- routing ------------------------------------------------------------------------------------

struct Selected {
  Tensor values, indices;
};
/// Over the last dimension, of which `count` stay.
Selected topk(const Tensor& x, int64_t count);
Selected max_last(const Tensor& x);  ///< the last dimension stays as 1
Selected sort(const Tensor& x);
Tensor gather(const Tensor& x, const Tensor& indices);  ///< over the last dimension
/// x[rows]: [n, …] at int64 [r] -> [r, …].
Tensor index_rows(const Tensor& x, const Tensor& rows);
Tensor index_select(const Tensor& x, const Tensor& rows);  ///< the same, along dimension 0
/// x [n, c] with the columns that int64 `index` names taken from source [n, index], out of place.
Tensor index_copy_columns(const Tensor& x, const Tensor& index, const Tensor& source);
Tensor masked_fill_in_place(const Tensor& x, const Tensor& mask);
/// x /= y. A gradient of y keeps a copy of x.
Tensor div_in_place(const Tensor& x, const Tensor& y);
Tensor clamp(const Tensor& x, bool both_ends);
/// Complex numbers, as float32 whose last dimension is 2: x times constants.
Tensor mul_complex(const Tensor& x, const Tensor& constants);
/// constant_pad_nd of the last dimension's end.
Tensor pad_last(const Tensor& x, int64_t size);
/// Rows of x [S, in], sorted by expert, times weight [E, in, out]; offsets int32 [E] ends each
/// expert's rows. How many rows an expert gets changes no size.
Tensor grouped_mm(const Tensor& x, const Tensor& weight, const Tensor& offsets);

}  // namespace memplan::aten
