#include "policy/tensor_parallel.h"

#include <algorithm>
#include <string>

#include "memplan/error.h"

namespace memplan::tensor_parallel {
namespace {

struct PlanRow {
  std::string_view module;
  Style style;
};
constexpr auto kPlan = std::to_array<PlanRow>({{"self_attn.q_proj", Style::colwise},
                                               {"self_attn.k_proj", Style::colwise},
                                               {"self_attn.v_proj", Style::colwise},
                                               {"self_attn.o_proj", Style::rowwise},
                                               {"mlp.gate_proj", Style::colwise},
                                               {"mlp.up_proj", Style::colwise},
                                               {"mlp.down_proj", Style::rowwise}});

// Their attention views what a projection gives as heads of the config's size, however many.
constexpr auto kFamilies = std::to_array<std::string_view>(
    {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "granite"});

}  // namespace

bool cuts_layers(const Strategy& s) { return s.framework == Framework::pytorch && s.tp > 1; }

Style style_of(const Strategy& s, std::string_view module) {
  if (!cuts_layers(s)) return Style::whole;
  const auto* row = std::find_if(kPlan.begin(), kPlan.end(),
                                 [&](const PlanRow& r) { return r.module == module; });
  return row == kPlan.end() ? Style::whole : row->style;
}

std::array<int64_t, 4> local_shape(const Strategy& s, const Param& p) {
  std::array<int64_t, 4> out = p.shape;
  const std::string_view name = p.name;
  const size_t dot = name.rfind('.');
  if (!cuts_layers(s) || dot == name.npos) return out;
  const Style style = style_of(s, name.substr(0, dot));
  if (style == Style::colwise) out[0] /= s.tp;  // of a bias too
  if (style == Style::rowwise && p.dims == 2) out[1] /= s.tp;
  return out;
}

void require_modelled(const Job& job) {
  const Strategy& s = job.strategy;
  const ModelSpec& m = job.model;
  const auto refuse = [](const std::string& where, const std::string& problem,
                         const std::string& hint) {
    throw Error(ErrorKind::not_modelled, where, problem, hint);
  };
  if (std::find(kFamilies.begin(), kFamilies.end(), m.family) == kFamilies.end())
    refuse("--tp", "parallelize_module's plan is known for Llama-like layers, not for " + m.family,
           "leave it away, or use --framework textbook");
  if (s.dp > 1)
    refuse("--dp", "data parallelism around layers that parallelize_module has cut", "use --dp 1");
  if (s.peft.kind != PeftKind::none)
    refuse("--peft", "adapters on layers that parallelize_module has cut are not modelled",
           "leave one of them away");
  if (s.quantization.kind != QuantKind::none)
    refuse("--quantization", "quantized weights cut by parallelize_module are not modelled",
           "leave one of them away");
  if (s.compile || s.kernels != KernelKind::eager)
    refuse(s.compile ? "--compile" : "--kernels",
           "it is not modelled on layers that parallelize_module has cut", "leave it away");
  for (const auto& [what, count] :
       {std::pair<const char*, int64_t>{"key and value heads", m.kv_heads},
        {"attention heads", m.heads},
        {"columns of the MLP", m.ffn}})
    if (count % s.tp != 0)
      throw Error(ErrorKind::bad_input, "--tp",
                  std::to_string(count) + " " + what + " cannot be cut over " +
                      std::to_string(s.tp) + " GPUs",
                  "use a divisor of it");
}

Bytes mesh_bytes(const Job& job) {
  const bool seen = job.backend == Backend::cpu && cuts_layers(job.strategy);
  return Bytes(seen ? checked_mul(job.strategy.tp, size_of(DType::f32)) : 0);
}

}  // namespace memplan::tensor_parallel
