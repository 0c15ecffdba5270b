// Small jobs for tests of the engine.
#pragma once

#include "memplan/fit.h"

namespace memplan {

/// A GPT-2 block model written down by hand: h 64, 4 heads, f 256, V 1000, dropout, tied.
inline ModelSpec small_gpt(int64_t layers = 4) {
  ModelSpec m;
  m.name = "small-gpt";
  m.family = "gpt2";
  m.hidden = 64;
  m.layers = layers;
  m.heads = m.kv_heads = 4;
  m.head_dim = 16;
  m.ffn = 256;
  m.vocab = 1000;
  m.max_positions = 128;
  m.tie_embeddings = true;
  m.activation = "gelu_new";
  m.attention_bias = m.attention_out_bias = m.mlp_bias = true;
  m.dropout = {0.1, 0.1, 0.1, 0};
  return m;
}

inline Job small_job(int64_t layers = 4) {
  Job job;
  job.model = small_gpt(layers);
  job.cluster.gpu = find_gpu("h100-80g");
  job.strategy.sequence = 128;
  return job;
}

/// Gives the job its GPUs: dp is what remains of `gpus`.
inline Job on(Job job, int64_t gpus, int64_t tp = 1, int64_t pp = 1, int64_t micro_batches = 1) {
  Strategy& s = job.strategy;
  s.tp = tp;
  s.pp = pp;
  s.dp = gpus / (tp * pp * s.cp);
  s.global_batch = s.micro_batch * s.dp * micro_batches;
  job.cluster.gpus = gpus;
  job.cluster.gpus_per_node = gpus;
  return job;
}

/// Four experts of 3·64·128 elements in every layer, two for each token; no biases, not tied.
inline Job small_moe(int64_t gpus, int64_t ep) {
  Job job = small_job();
  ModelSpec& m = job.model;
  m.family = "mixtral";
  m.activation = "silu";
  m.gated_mlp = true;
  m.tie_embeddings = false;
  m.attention_bias = m.attention_out_bias = m.mlp_bias = false;
  m.dropout = {};
  m.ffn = 128;
  m.moe.experts = 4;
  m.moe.experts_per_token = 2;
  m.moe.expert_ffn = 128;
  job.strategy.ep = ep;
  return on(std::move(job), gpus);
}

inline Job bare_job(int64_t parameters, int64_t gpus) {
  Job job = small_job();
  job.model = {};
  job.model.name = "bare";
  job.model.bare_parameters = parameters;
  return on(job, gpus);
}

}  // namespace memplan
