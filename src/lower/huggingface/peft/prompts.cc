// Prompt learning: virtual tokens before the input (prompt tuning, p-tuning) or before the keys and
// values of every layer (prefix tuning). peft_model.py, PeftModelForCausalLM.forward and
// get_prompt; tuners/{prompt_tuning,p_tuning,prefix_tuning}/model.py.
#include <algorithm>
#include <array>
#include <string>

#include "lower/huggingface/families.h"
#include "lower/huggingface/peft.h"
#include "memplan/error.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

constexpr std::string_view kEncoder = "prompt_encoder.default";

Tensor encoder_linear(const Params& p, const std::string& name, const Tensor& x) {
  const std::string module = std::string(kEncoder) + "." + name;
  return aten::linear(x, p.get(module, "weight"), p.get(module, "bias"));
}

// PromptEncoder's MLP, PrefixEncoder's projection: linear layers with an activation between.
Tensor projected(const Params& p, const std::string& module, int layers,
                 std::string_view activation_name, Tensor x) {
  for (int i = 0; i < layers; ++i) {
    if (i > 0) x = activation(x, activation_name);
    x = encoder_linear(p, module + "." + std::to_string(2 * i), x);
  }
  return x;
}

// The encoder on virtual tokens [b, tokens].
Tensor encode(const Forward& f, const Params& p, const Tensor& tokens) {
  const PeftSpec& peft = f.job.strategy.peft;
  Tensor x = embedding(p.get(kEncoder, "embedding.weight"), tokens);
  if (peft.kind == PeftKind::p_tuning) return projected(p, "mlp_head", 3, "relu", std::move(x));
  if (peft.kind == PeftKind::prefix_tuning && peft.number(PeftNumber::projected) != 0)
    return projected(p, "transform", 2, "tanh", std::move(x));
  return x;
}

bool lengthens_input(PeftKind kind) {
  return kind == PeftKind::prompt_tuning || kind == PeftKind::p_tuning;
}

}  // namespace

int64_t input_prompt_tokens(const PeftSpec& peft) {
  return lengthens_input(peft.kind) ? peft.number(PeftNumber::tokens) : 0;
}

bool has_virtual_tokens(const PeftSpec& peft) {
  return lengthens_input(peft.kind) || peft.kind == PeftKind::prefix_tuning;
}

bool differs_by_layer(const PeftSpec& peft) {
  return peft.kind == PeftKind::prefix_tuning || peft.kind == PeftKind::lily ||
         peft.kind == PeftKind::tinylora || peft.kind == PeftKind::adalora;
}

Tensor with_prompts(Forward& f, Tensor embeds, const Params& p) {
  const int64_t tokens = input_prompt_tokens(f.job.strategy.peft);
  if (tokens == 0) return embeds;
  if (f.job.strategy.recompute == Recompute::full && !embeds.requires_grad())
    f.session.require_grad(embeds);  // enable_input_require_grads
  const Tensor prefix = make(f.session, "aten.full.default", {f.batch, tokens}, DType::i64);
  const Tensor labels = make(f.session, "aten.cat.default", {f.batch, f.sequence}, DType::i64);
  // The virtual tokens are the same in every sample: they are encoded once.
  Tensor prompts = encode(f, p, slice(f.prompt_tokens, 0, 0, 1));
  prompts = repeat(prompts, {f.batch, 1, 1});
  prompts = to(prompts, embeds.dtype());
  const Tensor parts[] = {prompts, embeds};
  const Tensor whole = cat(parts, 1);
  for (const Tensor& local : {prefix, labels, prompts, whole}) f.wrapper_locals.push_back(local);
  return whole;
}

namespace {

// Keys and values of the prefix, for every layer.
void make_prefix(Forward& f, const Params& p) {
  const ModelSpec& model = f.model;
  const int64_t tokens = f.prompt_tokens.size(1);
  Tensor past = encode(f, p, f.prompt_tokens);
  past = to(past, f.job.strategy.precision.weight);
  past = view(past, {f.batch, tokens, 2 * model.layers, model.kv_heads, model.head_dim});
  past = permute(past, {2, 0, 3, 1, 4});
  const std::vector<Tensor> layers =
      split(past, std::vector<int64_t>(static_cast<size_t>(model.layers), 2), 0);
  past.reset();
  // DynamicCache(past_key_values): each layer's part goes behind an empty tensor.
  for (const Tensor& layer : layers) {
    const Tensor key = select(layer, 0), value = select(layer, 0);
    f.past.push_back(cat(std::span(&key, 1), -2));
    f.past.push_back(cat(std::span(&value, 1), -2));
  }
}

}  // namespace

// The mask grows by ones, which are fp32.
void enter_wrapper(Forward& f, const Params& p) {
  if (f.prompt_tokens && f.padding) {
    const int64_t tokens = f.prompt_tokens.size(1);
    const Shape whole{f.batch, checked_add(f.padding.size(1), tokens)};
    f.wrapper_locals.push_back(make(f.session, "aten.ones.default", {f.batch, tokens}, DType::f32));
    f.padding = make(f.session, "aten.cat.default", whole, DType::f32);
  }
  if (f.job.strategy.peft.kind == PeftKind::prefix_tuning) make_prefix(f, p);
}

// DynamicLayer.update: the cache keeps the longer keys and values.
void extend_past(Forward& f, Tensor& k, Tensor& v) {
  if (f.past.empty()) return;
  const size_t at = 2 * static_cast<size_t>(f.layer);
  const Tensor keys[] = {f.past[at], k};
  f.past[at] = cat(keys, -2);
  k = f.past[at];
  const Tensor values[] = {f.past[at + 1], v};
  f.past[at + 1] = cat(values, -2);
  v = f.past[at + 1];
}

void require_prompt_forward(const Job& job) {
  const Strategy& s = job.strategy;
  const PeftSpec& peft = s.peft;
  if (!has_virtual_tokens(peft) && peft.kind != PeftKind::adaption_prompt) return;
  const std::string kind(to_string(peft.kind));
  const auto refuse = [&](const std::string& problem, const char* hint) {
    throw Error(ErrorKind::not_modelled, "--peft", problem, hint);
  };
  const bool llama_like = std::ranges::find(llama_families(), job.model.family, &Family::name) !=
                          llama_families().end();
  if (!llama_like || job.model.head == ModelHead::sequence_classification)
    refuse("what " + kind + " keeps for backward is modelled for causal models like Llama alone",
           "its parameters are known: use --framework textbook with other methods");
  if (peft.kind == PeftKind::p_tuning && peft.number(PeftNumber::encoder_form) != 0)
    refuse("what p-tuning's LSTM keeps for backward is not modelled",
           "use encoder_reparameterization_type=MLP");
  if (peft.kind != PeftKind::prefix_tuning) return;
  // transformers/modeling_layers.py, GradientCheckpointingLayer: past_key_values become None, and
  // the mask no longer fits.
  if (s.recompute == Recompute::full)
    throw Error(ErrorKind::bad_input, "--recompute full",
                "prefix tuning fails under gradient checkpointing: the layers drop the prefix",
                "leave one of them away");
  const auto fits = [&](PeftNumber which, int64_t own) {
    return peft.number(which) == kUnset || peft.number(which) == own;
  };
  if (!fits(PeftNumber::layer_count, job.model.layers) ||
      !fits(PeftNumber::token_width, job.model.kv_heads * job.model.head_dim) ||
      !fits(PeftNumber::heads, job.model.kv_heads))
    refuse("a prefix of other sizes than the model's keys is not modelled",
           "leave num_layers, token_dim and num_attention_heads away");
}

}  // namespace memplan::hf
