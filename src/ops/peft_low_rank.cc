// Methods that add products of narrow matrices.
#include <algorithm>
#include <array>
#include <utility>

#include "ops/peft_method.h"

namespace memplan::peft_parameters {
namespace {

bool named_by_part(const std::vector<std::string>& parts, std::string_view module) {
  const std::string_view last = module.substr(module.rfind('.') + 1);
  return std::any_of(parts.begin(), parts.end(), [&](const std::string& part) {
    return last.find(part) != std::string_view::npos;
  });
}

// The two factors of `size` that LoKr chooses: the first at most the second, nearest to `factor`,
// or to the root where it is -1 (lokr/layer.py, factorization).
std::pair<int64_t, int64_t> factors(int64_t size, int64_t factor) {
  if (factor > 0 && size % factor == 0) return {factor, size / factor};
  if (factor == -1) factor = size;
  int64_t m = 1, n = size;
  const int64_t length = m + n;
  while (m < n) {
    int64_t next = m + 1;
    while (size % next != 0) ++next;
    if (next + size / next > length || next > factor) break;
    m = next;
    n = size / next;
  }
  return {std::min(m, n), std::max(m, n)};
}

void block_diagonal_lora(PeftSite& s) {
  const BlockDiagonal& blocks = s.peft.block_diagonal;
  const bool a = named_by_part(blocks.a, s.module.name), b = named_by_part(blocks.b, s.module.name);
  if (a == b)
    s.refuse(a ? "is named by both block-diagonal lists" : "is named by no block-diagonal list",
             "name it in target_modules_bd_a or target_modules_bd_b");
  if (a) s.divided(s.rank, blocks.blocks, "nblocks");
  if (b) s.divided(s.out, blocks.blocks, "nblocks");
  s.add("lora_A.default.weight", {s.rank, a ? s.divided(s.in, blocks.blocks, "nblocks") : s.in});
  s.add("lora_B.default.weight", {s.out, b ? s.divided(s.rank, blocks.blocks, "nblocks") : s.rank});
}

void path(PeftSite& s, std::string_view name, int64_t form, int64_t out, int64_t in) {
  const std::string prefix = std::string(name) + ".default.";
  switch (form) {
    case 1:
      s.add(prefix + "Xd", {out, s.rank});
      s.add(prefix + "Xu", {s.rank, in});
      return;
    case 2:
      s.add(prefix + "vector", {out});
      return;
    case 3:
      s.add(prefix + "scalar", {1});
      return;
    default:
      s.add_buffer(prefix + "zeros", {out, in}).dtype.reset();
  }
}

}  // namespace

void lora(PeftSite& s) {
  if (s.module.form == ModuleForm::embedding) {
    s.add("lora_embedding_A.default", {s.rank, s.in});
    s.add("lora_embedding_B.default", {s.out, s.rank});
    if (s.number(PeftNumber::adapter_bias) != 0)
      s.refuse("is an embedding: lora_bias is for linear layers");
  } else if (s.peft.block_diagonal.blocks > 0) {
    block_diagonal_lora(s);
  } else {
    Param& a = s.add("lora_A.default.weight", {s.rank, s.in});
    if (s.number(PeftNumber::frozen_a) != 0) a.trainable = false;
    s.add("lora_B.default.weight", {s.out, s.rank});
    if (s.number(PeftNumber::adapter_bias) != 0) s.add("lora_B.default.bias", {s.out});
  }
  if (s.number(PeftNumber::dora) != 0) s.add("lora_magnitude_vector.default.weight", {s.out});
}

// litgpt/lora.py, LoRAQKVLinear: A holds r rows for each adapted part of a fused projection, B the
// parts' own outputs.
void litgpt_lora(PeftSite& s) {
  const auto& parts = s.module.fused;
  int64_t adapted = 1, out = s.out;
  if (parts[0] > 0) {
    adapted = out = 0;
    constexpr std::array<std::string_view, 3> kWords{"query", "key", "value"};
    for (size_t i = 0; i < parts.size(); ++i) {
      if (std::find(s.peft.targets.begin(), s.peft.targets.end(), kWords[i]) ==
          s.peft.targets.end())
        continue;
      ++adapted;
      out = checked_add(out, parts[i]);
    }
  }
  s.add("lora_A", {checked_mul(s.rank, adapted), s.in}).dtype.reset();
  s.add("lora_B", {out, s.rank}).dtype.reset();
}

// torchtune/modules/peft/lora.py, LoRALinear: in the dtype of the model.
void torchtune_lora(PeftSite& s) {
  s.add("lora_a.weight", {s.rank, s.in}).dtype.reset();
  s.add("lora_b.weight", {s.out, s.rank}).dtype.reset();
}

// Megatron-Bridge, peft/utils.py, ParallelLinearAdapter: in the dtype of the model.
void bridge_lora(PeftSite& s) {
  s.add("adapter.linear_in.weight", {s.rank, s.in}).dtype.reset();
  s.add("adapter.linear_out.weight", {s.out, s.rank}).dtype.reset();
}

void adalora(PeftSite& s) {
  s.add("lora_A.default", {s.rank, s.in});
  s.add("lora_B.default", {s.out, s.rank});
  s.add("lora_E.default", {s.rank, 1});
  // 0.21 casts it with the others, which makes it trainable where the model is bf16 or fp16
  // (tuners_utils.py, cast_adapter_dtype); 0.19 and fp32 models leave it frozen.
  const DType weight = s.graph().context.weight;
  const bool cast = weight == DType::bf16 || weight == DType::f16;
  if (cast && s.peft.version >= Version{0, 21, 0})
    s.add("ranknum.default", {1});
  else
    s.add_frozen("ranknum.default", {1});
}

void loha(PeftSite& s) {
  for (const char* which : {"hada_w1", "hada_w2"}) {
    s.add(std::string(which) + "_a.default", {s.out, s.rank});
    s.add(std::string(which) + "_b.default", {s.rank, s.in});
  }
}

void lokr(PeftSite& s) {
  const int64_t factor = s.number(PeftNumber::decompose_factor);
  const auto [in_small, in_large] = factors(s.in, factor);
  const auto [out_small, out_large] = factors(s.out, factor);
  // A matrix is left whole where r is no smaller than half its longer side.
  const auto pair = [&](const std::string& name, int64_t rows, int64_t columns, bool split) {
    if (split && 2 * s.rank < std::max(rows, columns)) {
      s.add(name + "_a.default", {rows, s.rank});
      s.add(name + "_b.default", {s.rank, columns});
    } else {
      s.add(name + ".default", {rows, columns});
    }
  };
  pair("lokr_w1", out_small, in_small, s.number(PeftNumber::decompose_both) != 0);
  pair("lokr_w2", out_large, in_large, true);
}

void hira(PeftSite& s) {
  const std::string prefix = s.module.form == ModuleForm::embedding ? "hira_embedding_" : "hira_";
  s.add(prefix + "A.default", {s.rank, s.in});
  s.add(prefix + "B.default", {s.out, s.rank});
}

void deft(PeftSite& s) {
  const int64_t r = std::min(s.rank, s.out);
  s.add("deft_P.default", {s.out, r});
  if (s.number(PeftNumber::one_matrix) == 0) s.add("deft_R.default", {r, s.in});
}

void delora(PeftSite& s) {
  s.add("delora_A.default", {s.rank, s.in});
  s.add("delora_B.default", {s.out, s.rank});
  s.add("delora_lambda.default", {1});
  s.add_buffer("delora_w_norm.default", {s.in});
}

void glora(PeftSite& s) {
  const int64_t ab = s.number(PeftNumber::path_ab), c = s.number(PeftNumber::path_c),
                de = s.number(PeftNumber::path_de);
  path(s, "glora_A", ab, s.out, s.in);
  path(s, "glora_B", ab, s.out, s.in);
  // C, D and E act on a bias; without one peft puts constant zeros there.
  const bool bias = s.module.bias;
  if (bias && c == 1) {
    s.add("glora_C.default.Xd", {s.in, s.rank});
    s.add("glora_C.default.Xu", {s.rank, 1});
  } else {
    path(s, "glora_C", bias ? c : 0, s.in, 1);
  }
  for (const char* name : {"glora_D", "glora_E"}) {
    if (bias && de >= 2)
      path(s, name, de, s.out, 1);
    else
      s.add_buffer(std::string(name) + ".default.zeros", {s.out}).dtype.reset();
  }
}

void gralora(PeftSite& s) {
  const int64_t k = s.number(PeftNumber::parts), hybrid = s.number(PeftNumber::hybrid_rank);
  s.add("gralora_A.default", {k, s.divided(s.in, k, "gralora_k"), s.rank});
  s.add("gralora_B.default", {k, s.rank, s.divided(s.out, k, "gralora_k")});
  if (hybrid == 0) return;
  s.add("gralora_A_general.default.weight", {hybrid, s.in});
  s.add("gralora_B_general.default.weight", {s.out, hybrid});
}

void poly(PeftSite& s) {
  const int64_t skills = s.number(PeftNumber::skills), splits = s.number(PeftNumber::splits);
  s.add("poly_lora_A.default", {splits, skills, s.in / splits, s.rank});
  s.add("poly_lora_B.default", {splits, skills, s.rank, s.out / splits});
  s.add("poly_router.default.module_logits",
        {s.number(PeftNumber::tasks), checked_mul(splits, skills)});
}

void peanut(PeftSite& s) {
  s.add("peanut_A.default.weight", {s.rank, s.out});
  for (const char* side : {"encoders", "decoders"})
    for (int64_t i = 0; i < s.number(PeftNumber::depth); ++i)
      s.add(std::string("peanut_") + side + ".default." + std::to_string(i) + ".weight",
            {s.rank, s.rank});
  s.add("peanut_B.default.weight", {s.out, s.rank});
}

// The trained part is what `effective_rank` leaves of the singular directions: half, by default.
void osf(PeftSite& s) {
  const int64_t all = std::min(s.in, s.out);
  const int64_t kept = s.rank == kUnset ? all / 2 : s.rank;
  const int64_t low = all - std::min(kept, all);
  s.add("osf_svd_params.default.U_low", {s.out, low});
  s.add("osf_svd_params.default.S_low", {low});
  s.add("osf_svd_params.default.V_low", {low, s.in});
}

}  // namespace memplan::peft_parameters
