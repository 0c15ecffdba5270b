#include "input/published_simumax.h"

#include "base/text.h"
#include "input/published_fields.h"
#include "memplan/error.h"
#include "memplan/units.h"

namespace memplan {
namespace {

int64_t number_or(const JsonNode& node, std::string_view key, int64_t otherwise) {
  const auto value = node.find(key);
  return value && !value->is_null() ? value->count(0) : otherwise;
}

// simu_tools/megatron_scripts: Llama 3 with its heads of hidden/heads, DeepSeek with latent
// attention and its bottlenecks' norms; RMSNorm, rotary positions, SwiGLU, no biases, no dropout.
ModelSpec read_model(const JsonNode& node) {
  ModelSpec m;
  m.name = node.at("name").text();
  m.implementation = Implementation::megatron;
  m.family = "megatron_gpt";
  m.layers = node.at("layers").count();
  m.hidden = node.at("hidden").count();
  m.heads = node.at("heads").count();
  m.kv_heads = node.at("kv_heads").count();
  m.ffn = node.at("ffn").count();
  m.vocab = node.at("vocab").count();
  m.max_positions = node.at("seq").count();
  m.head_dim = m.hidden / m.heads;
  m.tie_embeddings = node.at("tied_embeddings").boolean();
  m.activation = "silu";
  m.gated_mlp = true;
  m.extra = {{"rms_norm", 1}, {"learned_positions", 0}};
  if (const auto mla = node.find("mla")) {
    m.mla = {mla->at("q_lora").count(), mla->at("kv_lora").count(), mla->at("qk").count(),
             mla->at("rope").count(), mla->at("v").count()};
    m.head_dim = m.mla.qk_nope_head_dim + m.mla.qk_rope_head_dim;
  }
  if (const int64_t experts = number_or(node, "num_experts", 0); experts > 0) {
    m.moe.experts = experts;
    m.moe.experts_per_token = node.at("moe_topk").count();
    m.moe.expert_ffn = node.at("moe_ffn").count();
    m.moe.shared_experts_ffn = number_or(node, "shared_expert_ffn", 0);
    const int64_t dense = number_or(node, "dense_layers", 0);
    for (int64_t layer = 0; layer < m.layers; ++layer) m.moe.layer_is_moe.push_back(layer >= dense);
  }
  return m;
}

}  // namespace

Job read_simumax_record(const JsonNode& line) {
  Job job;
  job.model = read_model(line.at("model"));
  job.cluster.gpu = find_gpu("b200", line.where());
  job.cluster.gpus = job.cluster.gpus_per_node = line.at("n_gpus").count();
  Strategy& s = job.strategy;
  s.framework = Framework::megatron;
  const JsonNode parallel = line.at("parallelism");
  s.dp = parallel.at("dp").count();
  s.tp = parallel.at("tp").count();
  s.pp = parallel.at("pp").count();
  s.cp = parallel.at("cp").count();
  s.ep = parallel.at("ep").count();
  s.sequence_parallel = parallel.at("sp").boolean() && s.tp > 1;
  s.zero = 1;
  s.micro_batch = published_micro_batch(line);
  s.global_batch = line.at("global_batch").count();
  s.sequence = published_sequence(line);
  s.precision = parse_precision("mixed-bf16", line.where());
  s.precision.gradient = DType::f32;
  s.optimizer = OptimizerKind::adam;

  // framework_version: Megatron-LM 23e00ed0 (0.14), Transformer Engine 2.11, torch 2.10.
  s.torch = {2, 10, 0};
  MegatronSpec& m = s.megatron;
  m.core = {0, 14, 0};
  m.transformer_engine = {2, 11, 0};
  m.attention_mask_from_loader = false;
  // The suffix of a case's name: Transformer Engine's fused cross-entropy.
  const bool fused = line.at("source").at("case").text().ends_with("_cef");
  if (fused) m.cross_entropy = MegatronSpec::CrossEntropy::fused_te;
  if (const std::string cp = published_text(parallel, "cp_comm"); !cp.empty())
    m.cp_communication = cp;
  const JsonNode flags = line.at("flags");
  if (job.model.moe.experts > 0) {
    m.grouped_gemm = m.router_fp32 = true;
    m.permute_fusion = published_flag(line, "moe_permute_fusion");
    m.dispatcher = MegatronSpec::Dispatcher::alltoall;
    m.capacity_factor = static_cast<double>(number_or(flags, "moe_capacity_factor", 0));
    m.pad_to_capacity = published_flag(line, "moe_pad_to_capacity");
  }
  return job;
}

}  // namespace memplan
