// lit_gpt/lora.py and adapter_v2.py: what stands in the place of a linear layer.
#include <algorithm>
#include <array>
#include <string_view>

#include "lower/litgpt/litgpt.h"

namespace memplan::litgpt {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;
using hf::Forward;
using hf::Params;

namespace {

// Widths of the adapted ones of queries, keys and values.
std::vector<int64_t> adapted_widths(const Forward& f) {
  constexpr std::array<std::string_view, 3> kWords{"query", "key", "value"};
  const std::array<int64_t, 3> heads{f.model.heads, f.model.kv_heads, f.model.kv_heads};
  const std::vector<std::string>& targets = f.job.strategy.peft.targets;
  std::vector<int64_t> out;
  for (size_t i = 0; i < kWords.size(); ++i)
    if (std::find(targets.begin(), targets.end(), kWords[i]) != targets.end())
      out.push_back(checked_mul(heads[i], f.model.head_dim));
  return out;
}

// LoRAQKVLinear.conv1d: input [b, n·r, s], weight [out, r, 1].
Tensor grouped_conv(const Forward& f, const Tensor& input, const Tensor& weight,
                    const std::vector<int64_t>& widths) {
  const auto groups = static_cast<int64_t>(widths.size());
  if (f.model.heads == f.model.kv_heads) return convolution1d(input, weight, groups);
  const std::vector<int64_t> ranks(widths.size(), input.size(1) / groups);
  const std::vector<Tensor> inputs = split(input, ranks, 1);
  const std::vector<Tensor> weights = split(weight, widths, 0);
  std::vector<Tensor> parts;
  for (size_t i = 0; i < widths.size(); ++i)
    parts.push_back(convolution1d(inputs[i], weights[i], 1));
  return cat(parts, 1);
}

// LoRAQKVLinear.zero_pad: x [b, s, adapted] -> [b, s, out], zeros where nothing is adapted.
Tensor zero_pad(const Tensor& given, int64_t width, size_t adapted) {
  if (adapted == 3) return given;
  Session& session = given.session();
  const Tensor x = transpose(given, 0, 1);
  const Shape wide{x.size(0), x.size(1), width};
  Tensor result = make(session, "aten.new_zeros.default", wide, x.dtype());
  result = view(result, {x.size(0) * x.size(1), width});
  {
    const Tensor index = make(session, "aten.lift_fresh.default", {x.size(-1)}, DType::i64);
    const Tensor rows = reshape(x, {x.size(0) * x.size(1), x.size(-1)});
    result = index_copy_columns(result, index, rows);
  }
  result = view(result, wide);
  return transpose(result, 0, 1);
}

Tensor lora_qkv(const Forward& f, const Params& p, std::string_view name, const Tensor& x,
                const Tensor& pretrained) {
  const Tensor a = p.get(name, "lora_A");
  const Tensor b = p.get(name, "lora_B");
  const std::vector<int64_t> widths = adapted_widths(f);
  Tensor after_a;
  {
    const Tensor dropped = dropout(x, f.job.strategy.peft.dropout);
    after_a = aten::linear(dropped, a, {});
  }
  Tensor after_b;
  {
    const Tensor turned = transpose(after_a, -2, -1);
    const Tensor kernel = unsqueeze(b, -1);
    after_b = transpose(grouped_conv(f, turned, kernel, widths), -2, -1);
  }
  Tensor low;
  {
    const Tensor padded = zero_pad(after_b, pretrained.size(-1), widths.size());
    low = mul_scalar(padded);
  }
  return add(pretrained, low);
}

// LoRALinear
Tensor lora(const Forward& f, const Params& p, std::string_view name, const Tensor& x,
            const Tensor& pretrained) {
  Tensor low = dropout(x, f.job.strategy.peft.dropout);
  low = matmul(low, transpose(p.get(name, "lora_A"), 0, 1));
  low = matmul(low, transpose(p.get(name, "lora_B"), 0, 1));
  low = mul_scalar(low);
  return add(pretrained, low);
}

}  // namespace

Tensor linear(const Forward& f, const Params& p, std::string_view name, const Tensor& x) {
  const Tensor y = aten::linear(x, p.get(name, "weight"), p.find(name, "bias"));
  if (p.find(name, "lora_A"))
    return name == f.row.attention.qkv ? lora_qkv(f, p, name, x, y) : lora(f, p, name, x, y);
  const Tensor scale = p.find(name, "adapter_scale");
  if (!scale) return y;
  const Tensor sum = add(y, p.get(name, "adapter_bias"));
  return mul(scale, sum);
}

}  // namespace memplan::litgpt
