// Methods that rotate inputs, outputs or a subspace.
#include <algorithm>

#include "ops/peft_method.h"

namespace memplan::peft_parameters {
namespace {

int64_t triangle(int64_t size) { return checked_mul(size, size - 1) / 2; }

// The divisor of `size` nearest to `wanted`; of two as near, the smaller (oft/layer.py,
// adjust_oft_parameters).
int64_t nearest_divisor(int64_t size, int64_t wanted) {
  if (wanted > size) return size;
  int64_t higher = wanted, lower = wanted;
  while (higher <= size && size % higher != 0) ++higher;
  while (lower > 1 && size % lower != 0) --lower;
  return wanted - lower <= higher - wanted ? lower : higher;
}

}  // namespace

void oft(PeftSite& s) {
  int64_t block = s.number(PeftNumber::block_size), blocks = s.rank;
  if ((block == 0) == (blocks == 0))
    s.refuse("OFT takes either r or oft_block_size", "set one of them to 0");
  if (block != 0) {
    block = nearest_divisor(s.in, block);
    blocks = s.in / block;
  } else {
    blocks = nearest_divisor(s.in, blocks);
    block = s.in / blocks;
  }
  const std::string name =
      s.module.form == ModuleForm::embedding ? "oft_embedding_R.default" : "oft_R.default";
  const int64_t shared = s.number(PeftNumber::share_blocks) != 0 ? 1 : blocks;
  s.add(name + ".weight", {shared, triangle(block)});
  s.add_buffer(name + ".rows", {triangle(block)}, DType::i64);
  s.add_buffer(name + ".cols", {triangle(block)}, DType::i64);
}

void boft(PeftSite& s) {
  int64_t block = s.number(PeftNumber::block_size), blocks = s.number(PeftNumber::block_count);
  if ((block == 0) == (blocks == 0))
    s.refuse("BOFT takes either boft_block_size or boft_block_num", "set one of them to 0");
  if (block != 0)
    blocks = s.divided(s.in, block, "boft_block_size");
  else
    block = s.divided(s.in, blocks, "boft_block_num");
  const int64_t factors = s.number(PeftNumber::butterfly_factors);
  if (factors > 1) s.divided(blocks, int64_t{1} << (factors - 1), "2^boft_n_butterfly_factor");
  s.add("boft_R.default", {factors, blocks, block, block});
  s.add("boft_s.default", {s.out, 1});
  s.add_buffer("boft_P", {factors, s.in, s.in});
}

void hra(PeftSite& s) { s.add("hra_u.default", {s.in, s.rank}); }

void psoft(PeftSite& s) {
  const int64_t r = s.rank;
  if (r > std::min(s.in, s.out)) s.refuse("is narrower than r " + std::to_string(r));
  if (s.number(PeftNumber::orthogonal) != 0) {
    s.add("psoft_R.default.weight", {triangle(r)});
    s.add_buffer("psoft_R.default.rows", {triangle(r)}, DType::i64);
    s.add_buffer("psoft_R.default.cols", {triangle(r)}, DType::i64);
  } else {
    s.add("psoft_R.default.weight", {r, r});
  }
  if (s.number(PeftNumber::magnitude_b) != 0) s.add("psoft_R.default.vector_b", {r});
  if (s.number(PeftNumber::magnitude_a) != 0) s.add("psoft_R.default.vector_a", {r});
  s.add_buffer("_psoft_A_cache.default", {r, s.in});
  s.add_buffer("_psoft_B_cache.default", {s.out, r});
}

// Variants 1, 2 and 4 have 1/2, 1 and 2 angles an output.
void road(PeftSite& s) {
  s.divided(s.out, s.number(PeftNumber::block_size), "group_size");
  const int64_t size = checked_mul(s.out, int64_t{1} << s.number(PeftNumber::variant)) / 2;
  s.add("road_theta.default", {size});
  s.add("road_alpha.default", {size});
}

}  // namespace memplan::peft_parameters
