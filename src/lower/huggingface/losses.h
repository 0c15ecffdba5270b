// The losses of training programs, from the last hidden states or the logits on.
//
// The caller's variables decide what outlives a loss: a tensor that its program frees is moved in.
#pragma once

#include <functional>
#include <vector>

#include "lower/huggingface/module.h"

namespace memplan::hf {

/// The output projection of some tokens: hidden [..., h] -> logits [..., V].
using Head = std::function<Tensor(const Tensor& hidden)>;

/// torch.Tensor.chunk: lengths of the parts of a dimension of `size`, at most `count`, all but the
/// last equal.
std::vector<int64_t> chunk_lengths(int64_t size, int64_t count);
/// torch.Tensor.split: parts of `length`.
std::vector<int64_t> split_lengths(int64_t size, int64_t length);
/// torch.Tensor.tensor_split: `count` parts, the first ones longer by one.
std::vector<int64_t> tensor_split_lengths(int64_t size, int64_t count);

/// torchtune 0.6, modules/transformer.py, TransformerDecoder.chunked_output: the logits of chunks
/// of the sequence, [b, n, V] each.
std::vector<Tensor> torchtune_chunked_output(Tensor hidden, const Head& head, int64_t chunks);
/// torchtune 0.6, modules/loss/ce_chunked_output_loss.py, CEWithChunkedOutputLoss: logits of chunks
/// and all labels [b, s], already shifted.
Tensor torchtune_chunked_loss(const std::vector<Tensor>& logits, const Tensor& labels,
                              bool compiled = false);
/// torch.hstack of the labels [b, s] but the first and a column of ignored ones, as torchtune 0.6's
/// recipes shift them.
Tensor torchtune_shifted_labels(const Tensor& labels);
/// torchtune 0.7, modules/loss/cross_entropy_loss.py, LinearCrossEntropyLoss: hidden [b, s, h] and
/// labels [b, s], of which none is ignored.
Tensor torchtune_linear_loss(const Tensor& hidden, const Tensor& labels, const Head& head,
                             int64_t chunks);

/// litgpt 0.5, utils.py, chunked_cross_entropy: logits of chunks of the sequence
/// (lm_head_chunk_size) [b, n, V] and targets [b, s].
Tensor litgpt_chunked_loss(const std::vector<Tensor>& logits, const Tensor& targets);
/// The same of all logits [b, s, V], in chunks of 128 tokens.
Tensor litgpt_chunked_loss(const Tensor& logits, const Tensor& targets);
/// litgpt 0.5, model.py, GPT.forward(lm_head_chunk_size=128).
std::vector<Tensor> litgpt_chunked_output(Tensor hidden, const Head& head);
constexpr int64_t kLitgptChunk = 128;
/// lightning/fabric/wrappers.py, _FabricModule.forward: what a module returns becomes fp32.
std::vector<Tensor> fabric_output(std::vector<Tensor> output);

/// torchtitan 0.3, components/loss.py, CrossEntropyLoss: logits [b, s, V], labels [b, s], tokens
/// [].
Tensor torchtitan_loss(const Tensor& logits, const Tensor& labels, const Tensor& tokens);
/// The same, ChunkedLossWrapper: runs the backward of head and loss within the forward.
Tensor torchtitan_chunked_loss(const Tensor& hidden, const Tensor& labels, const Tensor& tokens,
                               const Head& head, int64_t chunks);

/// hidden -> loss by Strategy::loss; `logits` as Family::loss leaves it. Throws
/// Error{not_modelled, bad_input} where the loss and the model do not go together.
Tensor model_loss(Forward& f, const Family& family, const Params& head, const Params& embedding,
                  Tensor hidden, Tensor& logits);

}  // namespace memplan::hf
