// The heads of BertForMaskedLM, RobertaForMaskedLM, DebertaV2ForMaskedLM and of their
// ...ForSequenceClassification.
#include <string>

#include "lower/ends.h"
#include "lower/huggingface/encoders.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

Tensor masked_lm_loss(Forward& f, const Params& head, const Params& embedding, const Tensor& given,
                      Tensor& logits) {
  const EncoderHeadRow& names = encoder_head_row(f.row, f.model);
  {
    Tensor hidden = linear(f, head, names.dense, given);
    // RobertaLMHead calls gelu whatever hidden_act says.
    hidden = activation(hidden, f.row.name == "roberta" ? "gelu" : f.model.activation);
    hidden = row_norm(f, head, names.norm, hidden);
    Tensor weight = head.find(names.decoder, "weight");
    if (!weight)
      weight = embedding.get(base_prefix(f.row, f.model) + std::string(f.row.embedding), "weight");
    Tensor bias = head.find(names.decoder, "bias");
    if (!bias) bias = head.find(names.bias);
    if (f.row.form == Form::deberta && f.model.extra_or("legacy", 1) == 0) {
      const Tensor wt = t(weight);
      const Tensor product = matmul(hidden, wt);
      logits = add(product, bias);
    } else {
      logits = aten::linear(hidden, weight, bias);
    }
  }
  return masked_loss(f, logits);
}

// BertPooler and the dropout after it; RobertaClassificationHead and DeBERTa's ContextPooler drop
// the first token too, the latter by pooler_dropout, which is 0 unless the config says otherwise.
Tensor class_loss(Forward& f, const Params& head, const Tensor& hidden, Tensor& logits) {
  const EncoderHeadRow& names = encoder_head_row(f.row, f.model);
  const double drop = f.model.dropout.hidden;
  Tensor pooled;
  {
    Tensor first = select(hidden, 1);
    if (f.row.name == "roberta") first = dropout(first, drop);
    pooled = linear(f, head, names.pooler, first);
    pooled = activation(pooled, f.row.form == Form::deberta ? "gelu" : "tanh");
  }
  const Tensor dropped = dropout(pooled, drop);
  logits = linear(f, head, names.classifier, dropped);
  return cross_entropy(logits, f.labels);
}

}  // namespace

Tensor encoder_loss(Forward& f, const Params& head, const Params& embedding, const Tensor& hidden,
                    Tensor& logits) {
  if (f.model.head == ModelHead::sequence_classification)
    return class_loss(f, head, hidden, logits);
  if (f.model.head != ModelHead::masked_lm || f.model.extra_or("next_sentence_head", 0) != 0)
    refuse_head(f);
  return masked_lm_loss(f, head, embedding, hidden, logits);
}

}  // namespace memplan::hf
