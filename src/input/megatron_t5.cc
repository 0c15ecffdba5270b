// pretrain_t5.py: what it makes of the arguments beside what pretrain_gpt.py does
// (examples/t5/pretrain_t5.py, core/models/T5/t5_model.py, core 0.18).
#include <fmt/format.h>

#include "input/megatron_model.h"
#include "memplan/units.h"

namespace memplan {

void apply_megatron_t5(const MegatronValues& v, Job& job) {
  ModelSpec& model = job.model;
  const Strategy& s = job.strategy;
  if (s.pp > 1)
    megatron_bad(v.pp.where, "--pipeline-model-parallel-size", "T5 has no pipeline parallelism",
                 "leave it away");
  if (model.moe.experts > 0)
    megatron_bad(v.experts.where, "--num-experts", "T5 has no experts", "leave it away");
  if (model.mla.kv_lora_rank > 0)
    megatron_bad(v.latent_attention.where, "--multi-latent-attention", "T5's attention is plain",
                 "leave it away");
  // CrossAttention.__init__
  if (model.kv_heads != model.heads)
    megatron_bad(v.grouped_query.where, "--group-query-attention",
                 "cross-attention has as many heads of keys as of queries", "leave it away");
  if (v.qk_layernorm.value)
    megatron_refuse(v.qk_layernorm.where, "--qk-layernorm of T5 is not modelled");
  // Both stacks are config.num_layers long; the encoder's number is that one.
  if (v.decoder_layers.given() && v.decoder_layers.value != model.layers)
    megatron_refuse(v.decoder_layers.where,
                    fmt::format("--decoder-num-layers {} beside an encoder of {} layers is not "
                                "modelled",
                                v.decoder_layers.value, model.layers));
  if (!v.decoder_sequence.given()) megatron_missing("--decoder-seq-length", "128");
  const int64_t length = v.decoder_sequence.value;
  if (length > model.max_positions)
    megatron_bad(
        v.decoder_sequence.where, "--decoder-seq-length",
        fmt::format("{} is more than --max-position-embeddings {}", length, model.max_positions),
        fmt::format("nearest: {}", model.max_positions));
  if (s.sequence_parallel && length % s.tp != 0)
    megatron_bad(
        v.decoder_sequence.where, "--decoder-seq-length",
        fmt::format("{} tokens cannot be cut over {} ranks of tensor parallelism", length, s.tp),
        fmt::format("nearest: {}", ceil_div(length, s.tp) * s.tp));
  model.family = "megatron_t5";
  model.head = ModelHead::seq2seq_lm;
  model.decoder_layers = model.layers;
  model.extra.emplace_back("decoder_seq_length", length);
}

}  // namespace memplan
