#include "input/megatron_args.h"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "base/text.h"
#include "memplan/error.h"

using namespace memplan;

namespace {

constexpr std::string_view kGpt =
    "--num-layers 12 --hidden-size 768 --num-attention-heads 12 --seq-length 1024 "
    "--max-position-embeddings 1024 --micro-batch-size 2 --vocab-size 50000 "
    "--tokenizer-type HuggingFaceTokenizer --bf16 ";

MegatronLaunch launch(const std::string& more) {
  return parse_megatron_text(std::string(kGpt) + more, "a.txt");
}

Job job_of(const std::string& more, int64_t gpus = 0, Version core = {0, 18, 0}) {
  Job job;
  job.strategy.megatron.core = core;
  const MegatronArguments arguments = read_megatron(launch(more));
  apply_megatron(arguments, job);
  if (gpus == 0) return job;
  const Strategy& s = job.strategy;
  job.strategy.dp = gpus / (s.tp * s.pp * s.cp);
  finish_megatron(arguments, job);
  return job;
}

std::string problem(const std::string& more, int64_t gpus = 0) {
  try {
    job_of(more, gpus);
  } catch (const Error& error) {
    return error.what();
  }
  return "was accepted";
}

std::string pattern(const std::vector<bool>& layers) {
  std::string out;
  for (bool moe : layers) out += moe ? '1' : '0';
  return out;
}

}  // namespace

TEST_SUITE("input/megatron arguments") {
  TEST_CASE("a plain GPT with Megatron's defaults") {
    const Job job = job_of("");
    const ModelSpec& m = job.model;
    CHECK(m.family == "megatron_gpt");
    CHECK(m.implementation == Implementation::megatron);
    CHECK(m.layers == 12);
    CHECK(m.hidden == 768);
    CHECK(m.ffn == 4 * 768);
    CHECK(m.heads == 12);
    CHECK(m.kv_heads == 12);
    CHECK(m.head_dim == 64);
    CHECK(m.vocab == 50000);
    CHECK(m.max_positions == 1024);
    CHECK(m.tie_embeddings);
    CHECK(m.activation == "gelu");
    CHECK_FALSE(m.gated_mlp);
    CHECK(m.attention_bias);
    CHECK(m.attention_out_bias);
    CHECK(m.mlp_bias);
    CHECK_FALSE(m.qk_norm);
    CHECK(m.dropout.hidden == 0.1);
    CHECK(m.dropout.embedding == 0.1);
    CHECK(m.dropout.attention == 0.1);
    CHECK(m.extra_or("learned_positions", -1) == 1);
    CHECK(m.extra_or("rms_norm", -1) == 0);
    const Strategy& s = job.strategy;
    CHECK(s.framework == Framework::megatron);
    CHECK(s.micro_batch == 2);
    CHECK(s.sequence == 1024);
    CHECK(s.zero == 0);
    CHECK(s.clip_gradients);
    CHECK(s.recompute == Recompute::none);
    CHECK(s.attention == AttentionKind::flash);
    CHECK(s.optimizer == OptimizerKind::adamw);
    CHECK(s.megatron.vocab_multiple == 128);
    CHECK(s.megatron.arguments.size() == 17);
  }

  TEST_CASE("a Llama") {
    const Job job = job_of(
        "--swiglu --disable-bias-linear --normalization RMSNorm --group-query-attention "
        "--num-query-groups 4 --position-embedding-type rope --rotary-percent 0.5 "
        "--untie-embeddings-and-output-weights --hidden-dropout 0 --attention-dropout 0 "
        "--kv-channels 128 --qk-layernorm");
    const ModelSpec& m = job.model;
    CHECK(m.activation == "silu");
    CHECK(m.gated_mlp);
    // 4 · 768 · 2 / 3 = 2048, a multiple of 64.
    CHECK(m.ffn == 2048);
    CHECK(m.kv_heads == 4);
    CHECK(m.head_dim == 128);
    CHECK_FALSE(m.attention_bias);
    CHECK_FALSE(m.mlp_bias);
    CHECK(m.qk_norm);
    CHECK_FALSE(m.tie_embeddings);
    CHECK(m.extra_or("rms_norm", 0) == 1);
    CHECK(m.extra_or("learned_positions", -1) == 0);
    CHECK(m.extra_or("rotary_percent", 100) == 50);
    CHECK(m.dropout.hidden == 0);
    CHECK(job_of("--disable-bias-linear --add-qkv-bias").model.attention_bias);
    CHECK_FALSE(job_of("--disable-bias-linear --add-qkv-bias").model.attention_out_bias);
    // 8 · 832 / 3 = 2218.67, cut to 34 · 64.
    CHECK(job_of("--swiglu --hidden-size 832 --num-attention-heads 13").model.ffn == 2176);
    CHECK(job_of("--squared-relu").model.activation == "relu2");
    CHECK(job_of("--position-embedding-type none").model.extra_or("no_positions", 0) == 1);
  }

  TEST_CASE("a script's name in front of the words") {
    const auto words = [](std::vector<std::string> given) {
      return read_megatron(megatron_launch(given));
    };
    const MegatronArguments mamba =
        words({"NVTE_FLASH_ATTN=0", "pretrain_mamba.py", "--num-layers", "2"});
    CHECK(mamba.script == MegatronScript::hybrid);
    CHECK(mamba.words ==
          std::vector<std::string>{"NVTE_FLASH_ATTN=0", "pretrain_mamba.py", "--num-layers", "2"});
    CHECK(mamba.values.hybrid_pattern.value == "MM");
    CHECK(words({"pretrain_t5.py", "--num-layers", "2"}).script == MegatronScript::t5);
    const MegatronArguments gpt = words({"pretrain_gpt.py", "--num-layers", "2"});
    CHECK(gpt.words == std::vector<std::string>{"--num-layers", "2"});
    CHECK_THROWS_AS(words({"pretrain_bert.py", "--num-layers", "2"}), Error);
  }

  TEST_CASE("hybrid models") {
    const Job job = job_of("--hybrid-override-pattern M-*M --num-layers 4");
    CHECK(job.model.family == "megatron_hybrid");
    CHECK(job.model.layers == 4);
    CHECK(job.model.ssm.heads * 64 == 2 * job.model.hidden);
    CHECK(job.model.ssm.groups == 8);
    CHECK(job_of("--hybrid-layer-pattern M-*M --mamba-num-heads 8").model.ssm.heads == 8);
    // 2 of 10 layers, 8 / 3 others before each: the sum falls under a half behind the 3rd and the
    // 5th of them.
    const std::string ratio = "--num-layers 10 --hybrid-attention-ratio 0.2";
    CHECK(job_of(ratio).model.hybrid_pattern == "MMM*MM*MMM");
    // 3 MLPs among 5 others, 5 / 3 before each.
    CHECK(job_of(ratio + " --hybrid-mlp-ratio 0.3").model.hybrid_pattern == "MM-*M-*MM-");
    CHECK(job_of("--is-hybrid-model --num-layers 3").model.hybrid_pattern == "MMM");
    const Job cut = job_of("--hybrid-layer-pattern M-M|*M --pipeline-model-parallel-size 2");
    CHECK(cut.model.hybrid_pattern == "M-M*M");
    CHECK(cut.strategy.megatron.layout == std::vector<std::string>{"Ettt", "ttL"});
    CHECK(cut.strategy.vpp == 1);
  }

  TEST_CASE("number formats") {
    const auto p = [](const std::string& more) { return job_of(more).strategy.precision; };
    CHECK(p("").weight == DType::bf16);
    CHECK(p("").gradient == DType::f32);
    CHECK(p("").master == DType::f32);
    CHECK(p("").optimizer == DType::f32);
    CHECK(p("--grad-reduce-in-bf16").gradient == DType::bf16);
    const std::string aware =
        "--use-distributed-optimizer --use-precision-aware-optimizer --exp-avg-dtype bf16 "
        "--main-grads-dtype bf16 --exp-avg-sq-dtype fp16";
    CHECK(p(aware).optimizer == DType::bf16);
    CHECK(p(aware).gradient == DType::bf16);
    CHECK(job_of(aware).strategy.megatron.main_grads == DType::bf16);
    CHECK(job_of(aware).strategy.megatron.exp_avg_sq == DType::f16);
    CHECK(problem("--exp-avg-dtype bf16") ==
          "a.txt:1: --exp-avg-dtype: needs the precision-aware optimizer; add "
          "--use-precision-aware-optimizer");
    CHECK(problem("--fp16") == "a.txt:1: --fp16: contradicts --bf16; give one of the two");
  }

  TEST_CASE("the vocabulary") {
    CHECK(job_of("--padded-vocab-size 50176").model.vocab == 50176);
    CHECK(job_of("--padded-vocab-size 50176").strategy.megatron.vocab_multiple == 1);
    CHECK(job_of("--tokenizer-type NullTokenizer").model.vocab == 50000);
    CHECK(job_of("--tokenizer-type NullTokenizer", 0, {0, 17, 0}).model.vocab == 50001);
    CHECK(job_of("--make-vocab-size-divisible-by 64").strategy.megatron.vocab_multiple == 64);
  }

  TEST_CASE("experts") {
    const Job job = job_of(
        "--num-experts 8 --moe-router-topk 2 --moe-ffn-hidden-size 512 --moe-grouped-gemm "
        "--expert-model-parallel-size 4 --moe-token-dispatcher-type alltoall "
        "--moe-layer-freq ([0]*3+[1]*9) --moe-shared-expert-intermediate-size 256 "
        "--moe-router-load-balancing-type seq_aux_loss --moe-aux-loss-coeff 1e-4 "
        "--moe-router-score-function sigmoid --moe-router-dtype fp32");
    CHECK(job.model.moe.experts == 8);
    CHECK(job.model.moe.experts_per_token == 2);
    CHECK(job.model.moe.expert_ffn == 512);
    CHECK(job.model.moe.shared_experts_ffn == 256);
    CHECK(pattern(job.model.moe.layer_is_moe) == "000111111111");
    CHECK(job.strategy.ep == 4);
    CHECK(job.strategy.megatron.dispatcher == MegatronSpec::Dispatcher::alltoall);
    CHECK(job.strategy.megatron.aux_loss == 1e-4);
    CHECK(job.strategy.megatron.load_balancing.front() == "seq_aux_loss");
    CHECK(job.strategy.megatron.router_fp32);
    CHECK(pattern(job_of("--num-experts 8 --moe-layer-freq 3").model.moe.layer_is_moe) ==
          "100100100100");
    CHECK(job_of("--num-experts 8").model.moe.expert_ffn == 3072);
    CHECK(job_of("--num-experts 0").model.moe.experts == 0);
  }

  TEST_CASE("latent attention") {
    const Job job = job_of(
        "--multi-latent-attention --q-lora-rank 96 --kv-lora-rank 48 --qk-head-dim 32 "
        "--qk-pos-emb-head-dim 16 --v-head-dim 40");
    CHECK(job.model.mla.q_lora_rank == 96);
    CHECK(job.model.mla.kv_lora_rank == 48);
    CHECK(job.model.head_dim == 48);
    CHECK(job.model.mla.v_head_dim == 40);
    CHECK(job_of("--multi-latent-attention").model.mla.kv_lora_rank == 32);
  }

  TEST_CASE("pipelines") {
    CHECK(job_of("--pipeline-model-parallel-size 2 --num-layers-per-virtual-pipeline-stage 2")
              .strategy.vpp == 3);
    CHECK(job_of("--pipeline-model-parallel-size 2 --num-virtual-stages-per-pipeline-rank 6")
              .strategy.vpp == 6);
    const Job layout = job_of(
        "--num-layers 15 --pipeline-model-parallel-size 2 --pipeline-model-parallel-layout "
        "Et*3|(tt|)*6L");
    CHECK(layout.strategy.vpp == 4);
    CHECK(layout.strategy.megatron.layout.front() == "Ettt");
    CHECK(layout.strategy.megatron.layout.back() == "L");
    const Job uneven = job_of(
        "--pipeline-model-parallel-size 4 --decoder-first-pipeline-num-layers 2 "
        "--decoder-last-pipeline-num-layers 2");
    CHECK(uneven.strategy.megatron.first_stage_layers == 2);
    CHECK(problem("--pipeline-model-parallel-size 5") ==
          "a.txt:1: --pipeline-model-parallel-size: 5 does not divide --num-layers 12; nearest: 4");
    // 14 entries over 7 stages.
    CHECK(job_of("--pipeline-model-parallel-size 7 --account-for-embedding-in-pipeline-split "
                 "--account-for-loss-in-pipeline-split")
              .strategy.pp == 7);
  }

  TEST_CASE("tensor and sequence parallelism") {
    CHECK(job_of("--tensor-model-parallel-size 4 --sequence-parallel").strategy.sequence_parallel);
    const Job alone = job_of("--sequence-parallel");
    CHECK_FALSE(alone.strategy.sequence_parallel);
    CHECK(alone.assumptions.size() == 1);
    CHECK(problem("--tensor-model-parallel-size 5") ==
          "a.txt:1: --tensor-model-parallel-size: 5 does not divide --num-attention-heads 12; "
          "nearest: 4");
    CHECK(problem("--num-experts 8 --tensor-model-parallel-size 2").find("--sequence-parallel") !=
          std::string::npos);
  }

  TEST_CASE("recomputation") {
    const Job full =
        job_of("--recompute-granularity full --recompute-method block --recompute-num-layers 3");
    CHECK(full.strategy.recompute == Recompute::full);
    CHECK(full.strategy.megatron.recompute_block);
    CHECK(full.strategy.megatron.recompute_layers == 3);
    CHECK(job_of("--recompute-activations").strategy.recompute == Recompute::selective);
    CHECK(job_of("--recompute-activations").strategy.megatron.recompute_modules.front() ==
          "core_attn");
    const Job mlp = job_of("--recompute-granularity selective --recompute-modules mlp layernorm");
    CHECK(mlp.strategy.megatron.recompute_modules.size() == 2);
  }

  TEST_CASE("kernels") {
    const MegatronSpec plain = job_of("").strategy.megatron;
    CHECK(plain.bias_activation_fusion);
    CHECK(plain.gradient_accumulation_fusion);
    CHECK_FALSE(plain.local);
    CHECK_FALSE(job_of("--disable-bias-linear").strategy.megatron.bias_activation_fusion);
    CHECK(job_of("--transformer-impl local").strategy.attention == AttentionKind::unfused);
    CHECK(job_of("--cross-entropy-loss-fusion").strategy.megatron.cross_entropy ==
          MegatronSpec::CrossEntropy::fused_native);
    CHECK(job_of("--apply-query-key-layer-scaling").strategy.megatron.softmax_in_fp32);
  }

  TEST_CASE("the environment") {
    MegatronLaunch with = launch("");
    with.environment = {{"CUBLAS_WORKSPACE_CONFIG", {":4096:2:16:8", "e"}},
                        {"NVTE_FLASH_ATTN", {"0", "e"}}};
    Job job;
    apply_megatron(read_megatron(with), job);
    CHECK(job.strategy.cublas_workspace == Bytes((2 * 4096 + 8 * 16) * 1024));
    CHECK(job.strategy.megatron.attention == MegatronSpec::Attention::fused);
    // They are part of what was given, and read back.
    CHECK(job.strategy.megatron.arguments.front() == "CUBLAS_WORKSPACE_CONFIG=:4096:2:16:8");
    Job again;
    apply_megatron(read_megatron(megatron_launch(job.strategy.megatron.arguments)), again);
    CHECK(again.strategy.cublas_workspace == job.strategy.cublas_workspace);
    CHECK(again.strategy.megatron.arguments == job.strategy.megatron.arguments);
    // determinism.py sets it from core 0.19 on.
    CHECK_FALSE(job_of("--deterministic-mode").strategy.cublas_workspace);
    CHECK(job_of("--deterministic-mode", 0, {0, 19, 0}).strategy.cublas_workspace == 32 * kMiB);
  }

  TEST_CASE("batches") {
    CHECK(job_of("", 8).strategy.global_batch == 16);
    CHECK(job_of("--global-batch-size 64", 8).strategy.micro_batches() == 4);
    CHECK(problem("--global-batch-size 24", 8) ==
          "a.txt:1: --global-batch-size: 24 is no multiple of --micro-batch-size 2 · dp 8; "
          "nearest: 32");
    CHECK(problem("--num-experts 8 --expert-model-parallel-size 8", 4)
              .find("does not divide the 4 ranks") != std::string::npos);
  }

  TEST_CASE("the last of several counts, and NAME=VALUE") {
    CHECK(job_of("--num-layers 3 --num-layers 5").model.layers == 5);
    CHECK(job_of("--num-layers=7").model.layers == 7);
  }

  TEST_CASE("words of memplan's command line come last") {
    Job job;
    const MegatronArguments arguments = read_megatron(
        launch(""), {{"--micro-batch-size", "--micro-batch"}, {"8", "--micro-batch"}});
    apply_megatron(arguments, job);
    CHECK(job.strategy.micro_batch == 8);
    CHECK(arguments.words.back() == "8");
  }

  TEST_CASE("origins") {
    bool found = false;
    for (const auto& [key, origin] :
         megatron_origins(read_megatron(launch("--pipeline-model-parallel-size 2"))))
      found = found || (key == "pp" && origin == "a.txt:1 --pipeline-model-parallel-size");
    CHECK(found);
  }

  TEST_CASE("every name is known once") {
    for (std::string_view name : megatron_names()) {
      CAPTURE(name);
      CHECK((find_megatron_row(name) != nullptr) + (find_megatron_refused(name) != nullptr) +
                is_harmless_megatron(name) ==
            1);
    }
  }
}
