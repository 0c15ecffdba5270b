// Encoders and T5's two stacks, by pencil and folded against unrolled.
#include <doctest/doctest.h>

#include "cost/eager.h"
#include "lower/families.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr int64_t kTokens = 2 * 48;

Job encoder_job(const char* family, ModelHead head, int64_t layers) {
  Job job;
  ModelSpec& m = job.model;
  m.name = m.family = family;
  m.head = head;
  m.hidden = 64;
  m.layers = layers;
  m.heads = m.kv_heads = 8;
  m.head_dim = 8;
  m.ffn = 176;
  m.vocab = 320;
  m.max_positions = 512;
  m.type_vocab = 2;
  m.activation = "relu";
  m.tie_embeddings = true;
  Strategy& s = job.strategy;
  s.framework = Framework::huggingface;
  s.precision = parse_precision("bf16", "--precision");
  s.attention = AttentionKind::sdpa;
  s.sequence = 48;
  s.micro_batch = s.global_batch = 2;
  return job;
}

int64_t activations(const Job& job) { return eager_step(job).activations.count(); }

TEST_CASE("a BERT layer keeps 16h + 4f + 4n bytes a token beside its statistics") {
  const auto of = [](int64_t layers) {
    Job job = encoder_job("bert", ModelHead::masked_lm, layers);
    job.model.activation = "gelu";
    return activations(job);
  };
  const int64_t statistics = 2 * 2 * 4, seed = 3 * 8;
  CHECK(of(4) - of(3) == kTokens * (16 * 64 + 4 * 176 + 4 * 8 + statistics) + seed);
}

TEST_CASE("T5's layers walked once for all give what layers walked one by one give") {
  for (const int64_t layers : {1, 2, 9})
    for (const Recompute recompute : {Recompute::none, Recompute::full}) {
      Job job = encoder_job("t5", ModelHead::seq2seq_lm, layers);
      job.model.decoder_layers = layers;
      job.strategy.recompute = recompute;
      CAPTURE(layers);
      const EagerStep folded = eager_step(job);
      const EagerStep unrolled = eager_step(job, Grain::requested, Layers::unrolled);
      CHECK(folded.activations == unrolled.activations);
      CHECK(folded.forward.bytes == unrolled.forward.bytes);
      CHECK(folded.backward.bytes == unrolled.backward.bytes);
      CHECK(folded.backward.at == unrolled.backward.at);
    }
}

TEST_CASE("every decoder layer of T5 reads what the encoder returned, which is kept once") {
  const auto of = [](int64_t decoders) {
    Job job = encoder_job("t5", ModelHead::seq2seq_lm, 2);
    job.model.decoder_layers = decoders;
    job.strategy.recompute = Recompute::full;
    return activations(job);
  };
  CHECK(of(5) - of(4) == kTokens * 2 * 64);  // the layer's own input
}

TEST_CASE("DeBERTa's convolution is walked after the first layer alone") {
  const auto of = [](int64_t layers, int64_t kernel) {
    Job job = encoder_job("deberta-v2", ModelHead::masked_lm, layers);
    job.model.activation = "gelu";
    job.strategy.attention = AttentionKind::unfused;
    if (kernel > 0) job.model.extra.emplace_back("conv_kernel_size", kernel);
    return activations(job);
  };
  CHECK(of(3, 3) > of(3, 0));
  CHECK(of(5, 3) - of(3, 3) == of(5, 0) - of(3, 0));
}

TEST_CASE("heads and kernels that the models have not are refused by name") {
  Job job = encoder_job("t5", ModelHead::sequence_classification, 2);
  job.model.decoder_layers = 2;
  job.model.labels = 3;
  CHECK_THROWS_WITH_AS(eager_step(job), doctest::Contains("this head of 't5'"), Error);
  job = encoder_job("bert", ModelHead::masked_lm, 2);
  job.model.extra.emplace_back("next_sentence_head", 1);
  CHECK_THROWS_WITH_AS(eager_step(job), doctest::Contains("this head of 'bert'"), Error);
  job = encoder_job("deberta-v2", ModelHead::masked_lm, 2);
  job.strategy.attention = AttentionKind::flash;
  CHECK_THROWS_WITH_AS(eager_step(job), doctest::Contains("no flash attention"), Error);
}

}  // namespace
}  // namespace memplan
