// parallelize_module's plan, by pencil.
#include "policy/tensor_parallel.h"

#include <doctest/doctest.h>

#include <string>

#include "memplan/error.h"

namespace memplan {
namespace {

using tensor_parallel::Style;

Job cut_job(int64_t tp) {
  Job job;
  job.model.family = "llama";
  job.model.heads = 8;
  job.model.kv_heads = 4;
  job.model.ffn = 176;
  job.strategy.framework = Framework::pytorch;
  job.strategy.tp = tp;
  return job;
}

Param param(const char* name, int64_t rows, int64_t columns) {
  Param p;
  p.name = name;
  p.shape = {rows, columns};
  p.dims = columns > 0 ? 2 : 1;
  return p;
}

TEST_CASE("columns of q, k, v, gate and up; rows of what ends a sub-layer; all else whole") {
  const Strategy s = cut_job(4).strategy;
  CHECK(tensor_parallel::style_of(s, "self_attn.k_proj") == Style::colwise);
  CHECK(tensor_parallel::style_of(s, "mlp.down_proj") == Style::rowwise);
  CHECK(tensor_parallel::style_of(s, "lm_head") == Style::whole);
  CHECK(tensor_parallel::local_shape(s, param("self_attn.q_proj.weight", 64, 48))[0] == 16);
  CHECK(tensor_parallel::local_shape(s, param("self_attn.q_proj.weight", 64, 48))[1] == 48);
  CHECK(tensor_parallel::local_shape(s, param("self_attn.q_proj.bias", 64, 0))[0] == 16);
  CHECK(tensor_parallel::local_shape(s, param("mlp.down_proj.weight", 48, 64))[0] == 48);
  CHECK(tensor_parallel::local_shape(s, param("mlp.down_proj.weight", 48, 64))[1] == 16);
  CHECK(tensor_parallel::local_shape(s, param("input_layernorm.weight", 48, 0))[0] == 48);
}

TEST_CASE("one GPU, or another framework, cuts nothing") {
  CHECK_FALSE(tensor_parallel::cuts_layers(cut_job(1).strategy));
  Strategy textbook = cut_job(4).strategy;
  textbook.framework = Framework::textbook;
  CHECK(tensor_parallel::style_of(textbook, "self_attn.q_proj") == Style::whole);
}

TEST_CASE("what the plan does not fit is refused by name") {
  CHECK_NOTHROW(tensor_parallel::require_modelled(cut_job(4)));
  CHECK_THROWS_WITH_AS(tensor_parallel::require_modelled(cut_job(8)),
                       doctest::Contains("4 key and value heads cannot be cut over 8"), Error);
  Job other = cut_job(2);
  other.model.family = "bloom";
  CHECK_THROWS_WITH_AS(tensor_parallel::require_modelled(other), doctest::Contains("Llama-like"),
                       Error);
}

}  // namespace
}  // namespace memplan
