// A small Llama as torchtitan trains it on 8 GPUs.
#pragma once

#include "memplan/job.h"

namespace memplan::titan {

inline constexpr int64_t kHidden = 64, kHeads = 8, kFfn = 176, kVocab = 320, kSequence = 48;
inline constexpr int64_t kTokens = 2 * kSequence;

inline Job job(int64_t layers) {
  Job out;
  ModelSpec& m = out.model;
  m.name = m.family = "llama";
  m.implementation = Implementation::torchtitan;
  m.hidden = kHidden;
  m.layers = layers;
  m.heads = m.kv_heads = kHeads;
  m.head_dim = kHidden / kHeads;
  m.ffn = kFfn;
  m.vocab = kVocab;
  m.max_positions = 512;
  m.activation = "silu";
  m.gated_mlp = true;
  Strategy& s = out.strategy;
  s.framework = Framework::torchtitan;
  s.precision = parse_precision("fp32", "--precision");
  s.attention = AttentionKind::sdpa;
  s.sequence = kSequence;
  s.micro_batch = 2;
  s.dp = 8;
  s.global_batch = 16;
  s.fsdp.param_dtype = DType::bf16;
  s.fsdp.reduce_dtype = DType::f32;
  s.fsdp.root_after_forward = 1;
  return out;
}

}  // namespace memplan::titan
