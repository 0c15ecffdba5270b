// Shapes: peft 0.21.2, src/peft/tuners/{prompt_tuning,multitask_prompt_tuning,p_tuning,
// prefix_tuning,cartridge,cpt}/model.py and adaption_prompt/layer.py; widths that a config leaves
// out: utils/other.py, _prepare_prompt_learning_config. litgpt: litgpt/adapter.py.
#include "lower/prompts.h"

#include "lower/family_row.h"
#include "memplan/error.h"
#include "ops/linear.h"

namespace memplan {
namespace {

constexpr int64_t kLitgptFirstLayer = 2;  // adapter_start_layer

class Encoder {
 public:
  Encoder(const ModelSpec& model, Graph& g) : model_(model), g_(g), peft_(*g.context.peft) {}

  void build() {
    switch (peft_.kind) {
      case PeftKind::prompt_tuning:
        add("embedding.weight", {all_tokens(), width()});
        return;
      case PeftKind::multitask_prompt_tuning:
        multitask();
        return;
      case PeftKind::p_tuning:
        p_tuning();
        return;
      case PeftKind::prefix_tuning:
        prefix();
        return;
      case PeftKind::cartridge:
        cartridge();
        return;
      case PeftKind::cpt:
        add("embedding.weight", {tokens(), width()}).trainable = false;
        add("delta_embedding.weight", {tokens(), width()});
        return;
      default:
        return;
    }
  }

 private:
  void multitask() {
    const int64_t ranks = peft_.number(PeftNumber::splits), tasks = peft_.number(PeftNumber::tasks);
    add("embedding.weight", {all_tokens(), width()});
    add("prefix_task_cols", {tasks, all_tokens(), ranks});
    add("prefix_task_rows", {tasks, ranks, width()});
  }

  void p_tuning() {
    const int64_t in = width(), hidden = or_else(PeftNumber::encoder_width, in);
    add("embedding.weight", {all_tokens(), in});
    if (peft_.number(PeftNumber::encoder_form) == 0) {
      linear("mlp_head.0", in, hidden);
      linear("mlp_head.2", hidden, hidden);
      linear("mlp_head.4", hidden, in);
      return;
    }
    const int64_t gates = checked_mul(4, hidden), both = checked_mul(2, hidden);
    for (int64_t i = 0; i < peft_.number(PeftNumber::encoder_layers); ++i)
      for (const char* direction : {"", "_reverse"}) {
        const std::string suffix = "_l" + std::to_string(i) + direction;
        add("lstm_head.weight_ih" + suffix, {gates, i == 0 ? in : both});
        add("lstm_head.weight_hh" + suffix, {gates, hidden});
        add("lstm_head.bias_ih" + suffix, {gates});
        add("lstm_head.bias_hh" + suffix, {gates});
      }
    linear("mlp_head.0", both, both);
    linear("mlp_head.2", both, in);
  }

  void prefix() {
    const int64_t keys = key_value_width();
    if (peft_.number(PeftNumber::projected) == 0) {
      add("embedding.weight", {tokens(), cache_width()});
      return;
    }
    const int64_t hidden = or_else(PeftNumber::encoder_width, keys);
    add("embedding.weight", {tokens(), keys});
    linear("transform.0", keys, hidden);
    linear("transform.2", hidden, cache_width());
  }

  void cartridge() {
    const int64_t frozen = peft_.number(PeftNumber::frozen_tokens);
    if (frozen >= tokens())
      throw Error(ErrorKind::bad_input, "--peft", "num_frozen_tokens leaves no token to train");
    if (frozen > 0) add("frozen_embedding", {frozen, cache_width()}).trainable = false;
    add("trainable_embedding", {tokens() - frozen, cache_width()});
  }

  int64_t or_else(PeftNumber which, int64_t fallback) const {
    return peft_.number(which) == kUnset ? fallback : peft_.number(which);
  }
  int64_t width() const { return or_else(PeftNumber::token_width, model_.hidden); }
  int64_t key_value_width() const {
    return or_else(PeftNumber::token_width, checked_mul(model_.kv_heads, model_.head_dim));
  }
  int64_t cache_width() const {
    const int64_t layers = or_else(PeftNumber::layer_count, model_.layers);
    return product({layers, 2, key_value_width()});
  }
  int64_t tokens() const {
    const int64_t tokens = peft_.number(PeftNumber::tokens);
    if (tokens == kUnset)
      throw Error(ErrorKind::bad_input, "--peft", "the number of virtual tokens is not given",
                  "add num_virtual_tokens=20");
    return tokens;
  }
  // An encoder-decoder has a prompt for each half.
  int64_t all_tokens() const {
    return checked_mul(tokens(),
                       or_else(PeftNumber::submodules, model_.decoder_layers > 0 ? 2 : 1));
  }

  void linear(const std::string& name, int64_t in, int64_t out) {
    add(name + ".weight", {out, in});
    add(name + ".bias", {out});
  }

  Param& add(const std::string& name, std::initializer_list<int64_t> shape) {
    g_.params.push_back(make_param("prompt_encoder.default." + name, shape));
    Param& p = g_.params.back();
    p.adapter = true;
    p.trainable = g_.context.training;
    p.dtype = DType::f32;
    return p;
  }

  const ModelSpec& model_;
  Graph& g_;
  const PeftSpec& peft_;
};

void add_layer_prompt(Graph& g, const std::string& name, std::initializer_list<int64_t> shape) {
  Param p = make_param(name, shape);
  p.adapter = true;
  g.param(std::move(p));
}

}  // namespace

bool adapted_layer(const PeftSpec& peft, int64_t index, int64_t layers) {
  switch (peft.kind) {
    case PeftKind::adapter_drop:
      return index >= peft.dropped_layers;
    case PeftKind::adaption_prompt: {
      const int64_t last = peft.number(PeftNumber::adapted_layers);
      return last == kUnset || index >= layers - last;
    }
    case PeftKind::litgpt_adapter:
    case PeftKind::litgpt_adapter_v2:
      return index >= kLitgptFirstLayer;
    default:
      return true;
  }
}

void add_layer_prompts(const ModelSpec& model, Graph& g) {
  const PeftSpec& peft = *g.context.peft;
  if (!g.context.adapters_here) return;
  const std::string_view output = family_row(model).attention.o;
  const std::string prefix(output.substr(0, output.rfind('.') + 1));
  const int64_t tokens = peft.number(PeftNumber::tokens);
  if (peft.kind == PeftKind::adaption_prompt) {
    if (tokens == kUnset)
      throw Error(ErrorKind::bad_input, "--peft", "the length of the prompt is not given",
                  "add adapter_len=10");
    if (peft.number(PeftNumber::adapted_layers) == kUnset)
      throw Error(ErrorKind::bad_input, "--peft", "the number of adapted layers is not given",
                  "add adapter_layers=30");
    add_layer_prompt(g, prefix + "adaption_prompt", {1, tokens, model.hidden});
    add_layer_prompt(g, prefix + "adaption_gate", {1});
  } else if (peft.kind == PeftKind::litgpt_adapter || peft.kind == PeftKind::litgpt_adapter_v2) {
    add_layer_prompt(g, prefix + "adapter_wte.weight", {tokens, model.hidden});
    add_layer_prompt(g, prefix + "gating_factor", {1, 1, model.heads, 1});
    if (model.implementation != Implementation::litgpt) return;
    // adapter_kv_cache: filled by the validation before the first step, and never again.
    for (const char* name : {"adapter_k", "adapter_v"}) {
      g.buffers.push_back(make_param(prefix + name, {1, model.heads, tokens, model.head_dim}));
      g.buffers.back().trainable = false;
    }
  }
}

void add_prompt_encoder(const ModelSpec& model, Graph& g) { Encoder(model, g).build(); }

}  // namespace memplan
