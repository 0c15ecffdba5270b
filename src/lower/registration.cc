#include "lower/registration.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <string>

namespace memplan {
namespace {

// transformers 5.12.1, models/FAMILY/modeling_FAMILY.py: names by prefix, first to last. "*": all
// that no other prefix fits, in forward order.
struct Order {
  std::string_view family;
  std::array<std::string_view, 12> prefixes;
};
constexpr auto kOrders = std::to_array<Order>({
    {"gpt2", {"ln_1", "attn", "ln_2", "crossattention", "ln_cross_attn", "*"}},
    {"gptj", {"ln_1", "attn.k_proj", "attn.v_proj", "attn.q_proj", "*"}},
    {"gpt_neox", {"input_layernorm", "post_attention_layernorm", "*"}},
    {"opt",
     {"self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj", "self_attn.out_proj",
      "self_attn_layer_norm", "fc1", "fc2", "*"}},
    {"bloom", {"*"}},
    {"bert", {"*"}},
    {"roberta", {"*"}},
    {"deberta-v2", {"*"}},
    {"t5",
     {"layer.0.SelfAttention.q", "layer.0.SelfAttention.k", "layer.0.SelfAttention.v",
      "layer.0.SelfAttention.o", "layer.0.SelfAttention", "layer.0.layer_norm",
      "layer.1.EncDecAttention", "layer.1.DenseReluDense", "layer.1.layer_norm",
      "layer.2.DenseReluDense", "layer.2.layer_norm", "*"}},
    {"falcon",
     {"self_attention", "mlp", "ln_attn", "ln_mlp", "post_attention_layernorm", "input_layernorm"}},
    {"phi3", {"self_attn.o_proj", "*", "input_layernorm", "post_attention_layernorm"}},
    {"gpt_oss", {"self_attn.sinks", "*", "input_layernorm", "post_attention_layernorm"}},
});

// Llama's module and those copied from it: sub-layers, then the layer's norms; the norms of queries
// and keys after the projections; experts before their router in the newest of them.
bool router_after_experts(std::string_view family) {
  return family == "qwen3_moe" || family.starts_with("deepseek");
}

int copied_from_llama(std::string_view name, const FamilyRow& row) {
  const auto in = [&](std::string_view module) {
    return !module.empty() && name.starts_with(module) &&
           name.substr(module.size()).starts_with('.');
  };
  const std::string_view norms[] = {row.before_attention, row.after_attention, row.before_mlp,
                                    row.after_mlp};
  for (int i = 0; i < 4; ++i)
    if (in(norms[i])) return 10 + i;
  if (in(row.moe.shared) || in(row.moe.shared_gate)) return 6;
  if (in(row.moe.router)) return router_after_experts(row.name) ? 5 : 3;
  if (name.starts_with("mlp.")) return 4;
  if (in(row.attention.q_norm) || in(row.attention.k_norm)) return 2;
  return 1;
}

int by_prefix(std::string_view name, const Order& order) {
  int rest = 0;
  for (int i = 0; i < static_cast<int>(order.prefixes.size()); ++i) {
    const std::string_view prefix = order.prefixes[static_cast<size_t>(i)];
    if (prefix == "*") rest = i;
    if (!prefix.empty() && name.starts_with(prefix)) return i;
  }
  return rest;
}

}  // namespace

std::vector<size_t> registration_order(const Graph& layer, const FamilyRow& row) {
  const auto order = std::find_if(kOrders.begin(), kOrders.end(),
                                  [&](const Order& o) { return o.family == row.name; });
  const auto rank = [&](size_t i) {
    const std::string& name = layer.params[i].name;
    return order == kOrders.end() ? copied_from_llama(name, row) : by_prefix(name, *order);
  };
  std::vector<size_t> out(layer.params.size());
  std::iota(out.begin(), out.end(), size_t{0});
  std::stable_sort(out.begin(), out.end(), [&](size_t a, size_t b) { return rank(a) < rank(b); });
  return out;
}

}  // namespace memplan
