#include "input/megatron_model.h"

#include <fmt/format.h>

#include "input/megatron_layout.h"
#include "memplan/error.h"
#include "memplan/units.h"

namespace memplan {
namespace {

using V = MegatronValues;

constexpr int64_t kMostLayers = 100'000;
constexpr int64_t kGpt2Vocab = 50257;  // the entries of GPT-2's vocab.json

int64_t required(const StatedCount& count, std::string_view argument, std::string_view example) {
  if (!count.given()) megatron_missing(argument, example);
  return count.value;
}

int64_t layers_of(const V& v) {
  if (v.layers.given() && v.encoder_layers.given())
    megatron_bad(v.encoder_layers.where, "--encoder-num-layers", "is given beside --num-layers",
                 "give one of the two");
  const StatedCount& layers = v.encoder_layers.given() ? v.encoder_layers : v.layers;
  const int64_t count = required(layers, "--num-layers", "32");
  if (count > kMostLayers)
    megatron_bad(layers.where, "--num-layers", fmt::format("{} is too large", count),
                 "at most 100000");
  return count;
}

// megatron/core/tokenizers: of NullTokenizer the words of --vocab-size, before core 0.18 with one
// more for the end of a document. pretrain_gpt.py's own tokenizer is GPT-2's.
int64_t vocabulary(const V& v, Job& job) {
  MegatronSpec& spec = job.strategy.megatron;
  if (v.padded_vocab.given()) {
    spec.vocab_multiple = 1;
    if (v.padded_vocab.value % v.tp.value != 0)
      megatron_bad(
          v.padded_vocab.where, "--padded-vocab-size",
          fmt::format("{} is no multiple of the {} ranks of tensor parallelism",
                      v.padded_vocab.value, v.tp.value),
          fmt::format("nearest: {}", ceil_div(v.padded_vocab.value, v.tp.value) * v.tp.value));
    return v.padded_vocab.value;
  }
  const std::string& tokenizer = v.tokenizer.value;
  if (v.vocab.given()) {
    const bool one_more = tokenizer == "NullTokenizer" && spec.core < Version{0, 18, 0};
    return v.vocab.value + (one_more ? 1 : 0);
  }
  if (tokenizer.empty() || tokenizer == "GPT2BPETokenizer") {
    job.assumptions.push_back(
        fmt::format("vocabulary {}, GPT-2's{}", kGpt2Vocab,
                    v.tokenizer.given() ? "" : ": pretrain_gpt.py's own tokenizer"));
    return kGpt2Vocab;
  }
  throw Error(
      ErrorKind::bad_input, v.tokenizer.where,
      "the size of the vocabulary is not known: the files of " + tokenizer + " are not read",
      "add --vocab-size N");
}

void activation(const V& v, ModelSpec& model) {
  const auto both = [](const StatedFlag& one, std::string_view a, std::string_view b) {
    megatron_bad(one.where, a, "contradicts " + std::string(b), "give one of the two");
  };
  if (v.swiglu.value && v.squared_relu.value) both(v.squared_relu, "--squared-relu", "--swiglu");
  if (v.swiglu.value && v.quick_geglu.value) both(v.quick_geglu, "--quick-geglu", "--swiglu");
  if (v.squared_relu.value && v.quick_geglu.value)
    both(v.quick_geglu, "--quick-geglu", "--squared-relu");
  model.gated_mlp = v.swiglu.value || v.quick_geglu.value;
  model.activation = v.swiglu.value         ? "silu"
                     : v.squared_relu.value ? "relu2"
                     : v.quick_geglu.value  ? "quick_gelu"
                                            : "gelu";
}

// Two thirds of 4h, cut to a multiple of 64, where gated; else 4h.
int64_t ffn_of(const V& v, int64_t hidden) {
  if (v.ffn.given()) return v.ffn.value;
  const int64_t whole = checked_mul(4, hidden);
  if (!v.swiglu.value) return whole;
  const int64_t ffn = checked_mul(whole, 2) / 3 / 64 * 64;
  if (ffn == 0)
    megatron_bad(v.hidden.where, "--hidden-size",
                 fmt::format("{} leaves --swiglu's MLP no width", hidden),
                 "add --ffn-hidden-size N");
  return ffn;
}

void attention(const V& v, Job& job) {
  ModelSpec& model = job.model;
  model.heads = required(v.heads, "--num-attention-heads", "32");
  if (!v.kv_channels.given() && model.hidden % model.heads != 0)
    megatron_bad(v.heads.where, "--num-attention-heads",
                 fmt::format("{} do not divide --hidden-size {}", model.heads, model.hidden),
                 fmt::format("nearest: {}, or add --kv-channels N",
                             nearest_divisor(model.hidden, model.heads)));
  model.head_dim = v.kv_channels.given() ? v.kv_channels.value : model.hidden / model.heads;
  model.kv_heads = v.grouped_query.value ? v.query_groups.value : model.heads;
  if (model.heads % model.kv_heads != 0)
    megatron_bad(
        v.query_groups.where.empty() ? v.grouped_query.where : v.query_groups.where,
        "--num-query-groups",
        fmt::format("{} do not divide --num-attention-heads {}", model.kv_heads, model.heads),
        fmt::format("nearest: {}", nearest_divisor(model.heads, model.kv_heads)));
  if (v.query_groups.given() && !v.grouped_query.value && v.query_groups.value != model.heads)
    job.assumptions.push_back(
        "--num-query-groups counts for nothing without --group-query-attention");
  model.attention_bias = !v.no_linear_bias.value || v.qkv_bias.value;
  model.attention_out_bias = !v.no_linear_bias.value;
  model.qk_norm = v.qk_layernorm.value;
}

void latent_attention(const V& v, ModelSpec& model) {
  if (!v.latent_attention.value) return;
  if (v.grouped_query.value)
    megatron_bad(v.grouped_query.where, "--group-query-attention",
                 "contradicts --multi-latent-attention", "give one of the two");
  model.mla = {v.q_lora_rank.value, v.kv_lora_rank.value, v.qk_head_dim.value,
               v.rope_head_dim.value, v.v_head_dim.value};
  // gpt_layer_specs.py: the bottlenecks' norms are --qk-layernorm's; heads have none.
  if (!v.qk_layernorm.value) model.extra.emplace_back("no_latent_norms", 1);
  model.qk_norm = false;
  model.head_dim = checked_add(v.qk_head_dim.value, v.rope_head_dim.value);
}

void experts(const V& v, ModelSpec& model) {
  MoeSpec& moe = model.moe;
  if (v.experts.value == 0) return;
  moe.experts = v.experts.value;
  moe.experts_per_token = v.topk.value;
  if (moe.experts_per_token > moe.experts)
    megatron_bad(v.topk.where.empty() ? v.experts.where : v.topk.where, "--moe-router-topk",
                 fmt::format("{} of {} experts", moe.experts_per_token, moe.experts),
                 fmt::format("nearest: {}", moe.experts));
  moe.expert_ffn = v.expert_ffn.given() ? v.expert_ffn.value : model.ffn;
  moe.shared_experts_ffn = v.shared_ffn.value;
  moe.shared_expert_gate = v.shared_gate.value;
  moe.layer_is_moe = parse_layer_pattern(
      v.layer_freq.value, model.layers,
      v.layer_freq.given() ? v.layer_freq.where : std::string("--moe-layer-freq"));
}

void positions(const V& v, ModelSpec& model) {
  const bool rope = v.rotary.value || v.positions.value == "rope";
  if (v.no_position_embedding.value && !rope)
    megatron_bad(v.no_position_embedding.where, "--no-position-embedding", "needs rotary positions",
                 "use --position-embedding-type none");
  const std::string& kind = v.positions.value;
  if (!rope && kind != "learned_absolute" && kind != "none")
    megatron_refuse(v.positions.where,
                    "--position-embedding-type " + kind + " is not modelled yet");
  const bool learned = !rope && kind == "learned_absolute";
  model.extra.emplace_back("learned_positions", learned ? 1 : 0);
  if (!rope && !learned) model.extra.emplace_back("no_positions", 1);
  if (rope && v.rotary_percent.value != 1)
    model.extra.emplace_back("rotary_percent",
                             static_cast<int64_t>(v.rotary_percent.value * 100 + 0.5));
  model.max_positions = required(v.max_positions, "--max-position-embeddings", "4096");
}

}  // namespace

void apply_megatron_model(const V& v, Job& job) {
  ModelSpec& model = job.model;
  model = {};
  model.family = "megatron_gpt";
  model.implementation = Implementation::megatron;
  model.layers = layers_of(v);
  model.hidden = required(v.hidden, "--hidden-size", "4096");
  job.strategy.megatron.vocab_multiple = v.vocab_multiple.value;
  activation(v, model);
  model.ffn = ffn_of(v, model.hidden);
  attention(v, job);
  latent_attention(v, model);
  experts(v, model);
  positions(v, model);
  model.vocab = vocabulary(v, job);
  model.tie_embeddings = !v.untied.value;
  model.mlp_bias = !v.no_linear_bias.value;
  model.extra.emplace_back("rms_norm", v.normalization.value == "RMSNorm" ? 1 : 0);
  model.dropout = {v.hidden_dropout.value, v.hidden_dropout.value, v.attention_dropout.value, 0};
  job.strategy.megatron.mtp_layers = v.mtp_layers.value;
  if (v.mtp_layers.value > kMostLayers)
    megatron_bad(v.mtp_layers.where, "--mtp-num-layers",
                 fmt::format("{} is too large", v.mtp_layers.value), "at most 100000");
}

}  // namespace memplan
