#include "lower/huggingface/losses.h"

#include <algorithm>

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

Tensor rows(const Tensor& x) {
  const int64_t width = x.size(-1);
  return reshape(x, {x.elements() / width, width});
}
Tensor flat(const Tensor& x) { return reshape(x, {x.elements()}); }

// (labels != ignore_index).sum()
Tensor count_valid(const Tensor& labels) {
  const Tensor valid = make(labels.session(), "aten.ne.Scalar", labels.sizes(), DType::boolean);
  return sum(valid);
}

// What litgpt does with the losses of the chunks' tokens.
Tensor litgpt_mean(const std::vector<Tensor>& logits, const std::vector<Tensor>& targets,
                   const Tensor& all) {
  std::vector<Tensor> losses;
  for (size_t i = 0; i < targets.size(); ++i)
    losses.push_back(cross_entropy(logits[i], targets[i], Reduction::none));
  const Tensor valid = count_valid(all);
  Tensor joined = cat(losses, 0);
  const Tensor total = sum(joined);
  joined.reset();
  Tensor one = make(all.session(), "aten.ones_like.default", {}, DType::i64);
  const Tensor divisor = pointwise("aten.maximum.default", {&valid, &one}, DType::i64);
  one.reset();
  return div(total, divisor);
}

}  // namespace

std::vector<int64_t> split_lengths(int64_t size, int64_t length) {
  std::vector<int64_t> out;
  for (int64_t rest = size; rest > 0; rest -= length) out.push_back(std::min(rest, length));
  return out;
}

std::vector<int64_t> chunk_lengths(int64_t size, int64_t count) {
  return split_lengths(size, ceil_div(size, count));
}

std::vector<int64_t> tensor_split_lengths(int64_t size, int64_t count) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(size / count + (i < size % count ? 1 : 0));
  return out;
}

std::vector<Tensor> torchtune_chunked_output(Tensor hidden, const Head& head, int64_t chunks) {
  std::vector<Tensor> out;
  for (const Tensor& chunk : split(hidden, chunk_lengths(hidden.size(1), chunks), 1))
    out.push_back(head(chunk));
  return out;
}

Tensor torchtune_shifted_labels(const Tensor& labels) {
  return make(labels.session(), "aten.cat.default", labels.sizes(), DType::i64);
}

Tensor torchtune_chunked_loss(const std::vector<Tensor>& logits, const Tensor& labels,
                              bool compiled) {
  const Tensor valid = count_valid(labels);
  std::vector<int64_t> lengths;
  for (const Tensor& chunk : logits) lengths.push_back(chunk.size(1));
  std::vector<Tensor> targets, scores;
  for (const Tensor& chunk : split(labels, lengths, 1)) targets.push_back(flat(chunk));
  for (const Tensor& chunk : logits) scores.push_back(rows(chunk));
  Tensor total;
  for (size_t i = 0; i < logits.size(); ++i) {
    Tensor loss;
    if (compiled) {
      loss = compiled_cross_entropy(scores[i], targets[i]);
    } else {
      const Tensor wide = to(scores[i], DType::f32);
      loss = cross_entropy(wide, targets[i], Reduction::sum);
    }
    total = total ? add_in_place(total, loss) : add_scalar(loss);
  }
  return div(total, valid);
}

Tensor torchtune_linear_loss(const Tensor& hidden, const Tensor& labels, const Head& head,
                             int64_t chunks) {
  Session& session = hidden.session();
  const int64_t tokens = labels.elements();
  // torch.where of one argument: nonzero of the comparison.
  const auto where_valid = [&](const Shape& sizes) {
    const Tensor valid = make(session, "aten.ne.Scalar", sizes, DType::boolean);
    return make(session, "aten.nonzero.default", {tokens, sizes.dims}, DType::i64);
  };
  where_valid(labels.sizes());
  Tensor targets = flat(labels);
  Tensor outputs = rows(hidden);
  {
    const Tensor indices = flat(where_valid({tokens}));
    outputs = index_select(outputs, indices);
    targets = index_select(targets, indices);
  }
  std::vector<Tensor> hidden_chunks, target_chunks;
  const std::vector<int64_t> lengths = tensor_split_lengths(tokens, chunks);
  for (int64_t length : lengths) hidden_chunks.push_back(slice(outputs, 0, 0, length));
  for (int64_t length : lengths) target_chunks.push_back(slice(targets, 0, 0, length));
  Tensor total = make(session, "aten.lift_fresh.default", {}, DType::f32);
  Tensor loss;
  for (size_t i = 0; i < lengths.size(); ++i) {
    {
      const Tensor logits = head(hidden_chunks[i]);
      const Tensor wide = to(logits, DType::f32);
      loss = cross_entropy(wide, target_chunks[i], Reduction::sum);
    }
    total = add_in_place(total, loss);
  }
  return div_scalar(total);
}

std::vector<Tensor> litgpt_chunked_output(Tensor hidden, const Head& head) {
  std::vector<Tensor> out;
  for (const Tensor& part : split(hidden, split_lengths(hidden.size(1), kLitgptChunk), 1))
    out.push_back(head(part));
  return out;
}

std::vector<Tensor> fabric_output(std::vector<Tensor> output) {
  std::vector<Tensor> out;
  for (const Tensor& x : output) out.push_back(to(x, DType::f32));
  return out;
}

Tensor litgpt_chunked_loss(const std::vector<Tensor>& logits, const Tensor& targets) {
  std::vector<Tensor> scores, target_chunks;
  for (const Tensor& chunk : logits) scores.push_back(rows(chunk));
  for (const Tensor& chunk :
       split(targets, split_lengths(targets.size(1), logits.front().size(1)), 1))
    target_chunks.push_back(flat(chunk));
  return litgpt_mean(scores, target_chunks, targets);
}

Tensor litgpt_chunked_loss(const Tensor& logits, const Tensor& targets) {
  const Tensor scores = rows(logits);
  const Tensor wanted = flat(targets);
  const std::vector<int64_t> lengths = split_lengths(wanted.size(0), kLitgptChunk);
  const std::vector<Tensor> score_chunks = split(scores, lengths, 0);
  const std::vector<Tensor> target_chunks = split(wanted, lengths, 0);
  return litgpt_mean(score_chunks, target_chunks, wanted);
}

Tensor torchtitan_loss(const Tensor& logits, const Tensor& labels, const Tensor& tokens) {
  Tensor loss;
  {
    const Tensor scores = rows(logits);
    const Tensor wide = to(scores, DType::f32);
    loss = cross_entropy(wide, flat(labels), Reduction::sum);
  }
  return div(loss, tokens);
}

Tensor torchtitan_chunked_loss(const Tensor& hidden, const Tensor& labels, const Tensor& tokens,
                               const Head& head, int64_t chunks) {
  Session& session = hidden.session();
  const std::vector<int64_t> lengths = chunk_lengths(hidden.size(1), chunks);
  std::vector<Tensor> parts, targets;
  {
    std::vector<Tensor> copies;
    for (const Tensor& part : split(hidden, lengths, 1)) copies.push_back(contiguous(part));
    for (const Tensor& copy : copies) {
      parts.push_back(copy.detach());
      session.require_grad(parts.back());
    }
  }
  for (const Tensor& part : split(labels, lengths, 1)) targets.push_back(contiguous(part));
  Tensor buffer = make(session, "aten.zeros_like.default", hidden.sizes(), DType::f32);
  Tensor total = make(session, "aten.new_zeros.default", {}, DType::f32);
  Tensor logits, loss;
  for (size_t i = 0; i < parts.size(); ++i) {
    logits = head(parts[i]);
    loss = torchtitan_loss(logits, targets[i], tokens);
    total = pointwise("aten.add.Tensor", {&total, &loss}, DType::f32);
    run_backward(session, loss);
    to(parts[i]->leaf->grad, DType::f32);
    session.ledger.note("aten.copy_.default");
    parts[i]->leaf->grad.reset();
  }
  const Tensor gradient = to(buffer, hidden.dtype());
  for (const Tensor& part : parts) part->leaf->value.reset();  // it would keep itself
  for (std::vector<Tensor>* held : {&parts, &targets}) held->clear();
  // _DecoderOutputGradientBackProp
  Tensor out = total.detach();
  if (tracks(hidden)) {
    const Saved kept(gradient);
    record({&out}, {&hidden}, [kept](Grads& g) { g.set(0, kept.get()); });
  }
  return out;
}

}  // namespace memplan::hf
