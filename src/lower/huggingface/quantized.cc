#include "lower/huggingface/quantized.h"

#include <algorithm>
#include <array>
#include <string>

#include "lower/huggingface/peft.h"
#include "memplan/error.h"
#include "policy/deepspeed.h"

namespace memplan::hf {
namespace {

using namespace aten;  // NOLINT: this file is written in its operators

constexpr std::string_view kWeight = ".weight", kBias = ".bias";

// not torch.is_autocast_enabled(), which asks for CUDA's alone
bool converts(const Session& s) { return !(s.autocast && s.backend == Backend::cuda); }

// peft 0.21.2, lora/bnb.py, Linear4bit.forward and Linear8bitLt.forward
Tensor lora(const Forward& f, const Params& p, std::string_view name, const Tensor& x,
            Tensor result, bool clones) {
  const Tensor a = p.find(name, "lora_A.default.weight");
  if (!a) return result;
  if (clones) result = clone(result);
  const DType out = result.dtype();
  const Tensor same = converts(f.session) ? to(x, a.dtype()) : x;
  if (p.find(name, "lora_magnitude_vector.default.weight")) {
    result = dora(f, p, name, same, std::move(result));
    return converts(f.session) ? to(result, out) : result;
  }
  Tensor low = dropout(same, f.job.strategy.peft.dropout);
  low = aten::linear(low, a, {});
  low =
      aten::linear(low, p.get(name, "lora_B.default.weight"), p.find(name, "lora_B.default.bias"));
  low = mul_scalar(low);
  if (converts(f.session)) low = to(low, out);
  return add(result, low);
}

// adalora/bnb.py, SVDLinear4bit.forward and SVDLinear8bitLt.forward
Tensor adalora(const Forward& f, const Params& p, std::string_view name, const Tensor& x,
               Tensor result, bool clones) {
  const Tensor a = p.find(name, "lora_A.default");
  if (!a) return result;
  if (clones) result = clone(result);
  const Tensor ranknum = add_scalar(p.get(name, "ranknum.default"));
  const DType out = result.dtype();
  const Tensor same = converts(f.session) ? to(x, a.dtype()) : x;
  Tensor low;
  {
    const Tensor dropped = dropout(same, f.job.strategy.peft.dropout);
    const Tensor scaled = mul(a, p.get(name, "lora_E.default"));
    const Tensor narrow = matmul(dropped, t(scaled));
    low = matmul(narrow, t(p.get(name, "lora_B.default")));
  }
  if (converts(f.session)) low = to(low, out);
  low = mul_scalar(low);
  low = div(low, ranknum);
  return clones ? add_in_place(std::move(result), low) : add(result, low);
}

// ia3/bnb.py: what is 16 bits wide goes on in fp32.
Tensor ia3(const Forward& f, const Params& p, std::string_view name, const Tensor& given,
           const Tensor& weight, const Tensor& bias) {
  const Tensor l = p.find(name, "ia3_l.default");
  if (!l) return quantized_linear(given, weight, bias);
  const Tensor flat = view(l, {l.elements()});
  const Tensor scaling = mul_scalar(flat);
  const Tensor x = converts(f.session) ? to(given, DType::f32) : given;
  const bool on_input = l.size(0) == 1;
  Tensor result;
  if (on_input) {
    result = quantized_linear(mul(x, scaling), weight, bias);
  } else {
    result = quantized_linear(x, weight, bias);
    result = mul(result, scaling);
  }
  return is_4bit(weight) ? clone(result) : result;
}

}  // namespace

QuantFormat quant_format(const Strategy& s) {
  const Quantization& q = s.quantization;
  const bool wide = size_of(s.precision.weight) > size_of(DType::bf16);
  const DType narrow = wide ? s.precision.autocast.value_or(DType::bf16) : s.precision.weight;
  QuantFormat out{q.kind, q.double_quant, q.compute.value_or(narrow), s.precision.weight};
  // fp32 weights that prepare_model_for_kbit_training made were loaded in 16 bits.
  if (wide && q.prepared) out.loaded = out.compute;
  out.sharded = q.storage.has_value();
  return out;
}

// transformers/integrations/bitsandbytes.py, replace_with_bnb_linear: modules of the very classes
// nn.Linear and Conv1D, without the output embedding, the module of the model's last parameter and
// _keep_in_fp32_modules (quantizers/base.py, get_modules_to_not_convert). The experts of
// transformers 5 are parameters by themselves, and so are most routers.
bool quantizes(const Strategy& s, const FamilyRow& row, const Param& param) {
  if (s.quantization.kind == QuantKind::none || !param.linear || row.own_linear) return false;
  if (param.adapter || param.name == "score.weight") return false;
  const std::string_view module =
      std::string_view(param.name).substr(0, param.name.size() - kWeight.size());
  return row.kept_wide.empty() || !module.ends_with(row.kept_wide);
}

DType stored_dtype(const Strategy& s, const FamilyRow& row, const Graph& graph,
                   const Param& param) {
  if (param.dtype && !deepspeed::casts_model(s)) return *param.dtype;
  const Quantization& q = s.quantization;
  if (q.kind == QuantKind::none) return s.precision.weight;
  // Linear4bit.forward leaves its bias in the dtype of the product.
  if ((q.kind != QuantKind::int8) && param.name.ends_with(kBias)) {
    const std::string weight =
        param.name.substr(0, param.name.size() - kBias.size()) + std::string(kWeight);
    for (const Param& other : graph.params)
      if (other.name == weight && quantizes(s, row, other)) return quant_format(s).compute;
  }
  return q.prepared ? DType::f32 : s.precision.weight;
}

Bytes quantization_tables(const Job& job, const Program& program) {
  const Strategy& s = job.strategy;
  if (s.quantization.kind == QuantKind::none) return {};
  constexpr int64_t kFloat = size_of(DType::f32);
  const Bytes imported(job.backend == Backend::cpu ? 2 * 16 * kFloat : 0);
  const FamilyRow row = family_row(job.model);
  const bool any =
      std::any_of(program.blocks.begin(), program.blocks.end(), [&](const Block& block) {
        return std::any_of(block.graph.params.begin(), block.graph.params.end(),
                           [&](const Param& p) { return quantizes(s, row, p); });
      });
  return imported + Bytes(any && s.quantization.double_quant ? 256 * kFloat : 0);
}

Tensor quantized_module(const Forward& f, const Params& p, std::string_view name, const Tensor& x,
                        const Tensor& weight, const Tensor& bias) {
  const PeftKind kind = f.job.strategy.peft.kind;
  if (!p.adapted(name)) return quantized_linear(x, weight, bias);
  if (kind == PeftKind::ia3) return ia3(f, p, name, x, weight, bias);
  Tensor y = quantized_linear(x, weight, bias);
  return (kind == PeftKind::lora ? lora : adalora)(f, p, name, x, std::move(y), is_4bit(weight));
}

bool unpacks_by_itself(PeftKind kind) {
  return kind == PeftKind::lora || kind == PeftKind::adalora || kind == PeftKind::ia3;
}

void require_quantized_forward(const Job& job, const Program& program) {
  const Strategy& s = job.strategy;
  if (s.quantization.kind == QuantKind::none) return;
  constexpr std::array kForwards{PeftKind::lora, PeftKind::adalora, PeftKind::ia3, PeftKind::vera,
                                 PeftKind::ln_tuning};
  if (s.peft.kind == PeftKind::none)
    throw Error(ErrorKind::bad_input, "--quantization", "quantized weights cannot be trained",
                "add --peft lora");
  if (std::find(kForwards.begin(), kForwards.end(), s.peft.kind) == kForwards.end())
    throw Error(ErrorKind::not_modelled, "--quantization",
                std::string(to_string(s.peft.kind)) + " on quantized weights is not modelled",
                "LoRA's is");
  const bool wide = s.quantization.prepared || s.precision.weight == DType::f32;
  if (s.peft.kind == PeftKind::ia3 && !wide && !s.precision.autocast)
    throw Error(ErrorKind::bad_input, "--peft",
                "ia3 makes 16-bit results of quantized layers fp32, which attention does not mix",
                "use --prepare-kbit true");
  const FamilyRow row = family_row(job.model);
  for (const Block& block : program.blocks)
    for (const Param& p : block.graph.params)
      if (quantizes(s, row, p) && saved_whole(s.peft, block.graph.context.prefix + p.name))
        throw Error(ErrorKind::bad_input, "--peft",
                    "modules_to_save names '" + p.name +
                        "', which is quantized: integers have no "
                        "gradient",
                    "leave it out of modules_to_save");
}

}  // namespace memplan::hf
