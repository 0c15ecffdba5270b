// Methods whose modules share matrices, vectors or banks: each counts once.
#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "ops/peft_method.h"

namespace memplan::peft_parameters {
namespace {

int64_t bases(int64_t in, int64_t out, int64_t rank) { return ceil_div(std::min(in, out), rank); }

}  // namespace

void vera(PeftSite& s) {
  s.add("vera_lambda_b.default", {s.out});
  s.add("vera_lambda_d.default", {s.rank});
}
void vera_shared(PeftSharing& s) {
  s.add_buffer("vera_A.default", {s.peft.rank, s.widest_in}, DType::f32);
  s.add_buffer("vera_B.default", {s.widest_out, s.peft.rank}, DType::f32);
}

void pvera(PeftSite& s) {
  s.add("pvera_lambda_b.default", {s.out});
  s.add("pvera_lambda_d.default", {checked_mul(2, s.rank)});
}
void pvera_shared(PeftSharing& s) {
  s.add_buffer("pvera_A.default", {checked_mul(2, s.peft.rank), s.widest_in}, DType::f32);
  s.add_buffer("pvera_B.default", {s.widest_out, s.peft.rank}, DType::f32);
}

// Enough bases of r columns to span the narrower side.
void randlora(PeftSite& s) {
  const int64_t n = bases(s.in, s.out, s.rank);
  s.add("randlora_lambda.default", {s.rank, n});
  s.add("randlora_gamma.default", {n, std::min(s.in, s.out)});
}
void randlora_shared(PeftSharing& s) {
  const int64_t narrow = std::min(s.widest_in, s.widest_out);
  const int64_t wide = std::max(s.widest_in, s.widest_out);
  s.add_buffer("randlora_A.default", {s.peft.rank, 1, narrow}, DType::f32);
  s.add_buffer("randlora_B.default", {wide, bases(narrow, narrow, s.peft.rank), s.peft.rank},
               DType::f32);
}

void vblora(PeftSite& s) {
  const int64_t length = s.number(PeftNumber::vector_length), n = s.number(PeftNumber::vectors);
  s.add("vblora_logits_A.default", {s.rank, s.divided(s.in, length, "vector_length"), n});
  s.add("vblora_logits_B.default", {s.divided(s.out, length, "vector_length"), s.rank, n});
}
void vblora_shared(PeftSharing& s) {
  s.add("vblora_vector_bank.default",
        {s.peft.number(PeftNumber::vectors), s.peft.number(PeftNumber::vector_length)});
}

void unilora(PeftSite& s) {
  s.add_buffer("unilora_indices_A.default", {s.rank, s.in}, DType::i64);
  s.add_buffer("unilora_indices_B.default", {s.out, s.rank}, DType::i64);
  s.add_buffer("unilora_scales_A.default", {s.rank, s.in});
  s.add_buffer("unilora_scales_B.default", {s.out, s.rank});
}
void unilora_shared(PeftSharing& s) {
  s.add("unilora_theta_d.default", {s.peft.number(PeftNumber::vector_length)});
}

void tinylora(PeftSite& s) {
  const int64_t r = std::min({s.rank, s.in, s.out});
  const int64_t rows = s.in, columns = s.out;
  s.add_buffer("tinylora_A.default", {r, rows});
  s.add_buffer("tinylora_B.default", {columns, r});
  s.add_buffer("tinylora_P.default", {s.number(PeftNumber::projections), r, r});
}
// tinylora/model.py: modules are grouped in forward order; one vector a group.
void tinylora_shared(PeftSharing& s) {
  const auto wanted = static_cast<int64_t>(
      std::nearbyint(static_cast<double>(s.count) * (1.0 - s.peft.fraction)));  // half to even
  const int64_t groups = std::max<int64_t>(1, wanted);
  const int64_t size = std::max<int64_t>(1, s.count / groups);
  const int64_t used = std::min(groups, ceil_div(s.count, size));
  for (int64_t i = 0; i < used; ++i)
    s.add("tinylora_v.default." + std::to_string(i), {s.peft.number(PeftNumber::projections)});
}

void lily(PeftSite& s) {
  s.add("lily_router.default.weight", {s.number(PeftNumber::count_b), s.rank});
}
// lily/model.py, _post_injection_hook: modules that one target names, of one shape, share B; runs
// of stride_A of them share A.
void lily_shared(PeftSharing& s) {
  std::map<std::tuple<std::string, int64_t, int64_t>, int64_t> groups;
  for (const AdaptedModule& m : s.modules) {
    std::string target = m.module->name;
    for (const std::string& name : s.peft.targets)
      if (s.peft.targets.size() > 1 ? target.ends_with(name)
                                    : name.find_first_of(kPatternCharacters) != name.npos)
        target = name;
    groups[{target, m.module->out, m.module->in}] += m.count;
  }
  const int64_t r = s.peft.rank;
  for (const auto& [key, count] : groups) {
    const auto& [target, out, in] = key;
    const int64_t a = ceil_div(count, s.peft.number(PeftNumber::stride));
    for (int64_t i = 0; i < a; ++i)
      s.add(target + "." + std::to_string(i) + ".lily_A.default.weight", {r, in});
    s.add(target + ".lily_B.default.weight",
          {checked_mul(s.peft.number(PeftNumber::count_b), r), out});
  }
}

}  // namespace memplan::peft_parameters
