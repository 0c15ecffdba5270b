// Inputs that are no arguments of Megatron-LM, or contradict each other: each must end in one clear
// error, never in a crash or a guess.

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "input/megatron_args.h"
#include "memplan/error.h"

using namespace memplan;

namespace {

constexpr int64_t kGpus = 16;

void read(std::string_view text) {
  Job job;
  const MegatronArguments arguments = read_megatron(parse_megatron_text(text, "file"));
  apply_megatron(arguments, job);
  const Strategy& s = job.strategy;
  job.strategy.dp = kGpus / (s.tp * s.pp * s.cp);
  finish_megatron(arguments, job);
}

void expect_error(std::string_view text, std::string_view where,
                  const std::vector<std::string_view>& fragments,
                  ErrorKind kind = ErrorKind::bad_input) {
  CAPTURE(text.substr(0, 400));
  try {
    read(text);
    FAIL_CHECK("was accepted");
  } catch (const Error& error) {
    CHECK_MESSAGE(error.kind() == kind, error.what());
    CHECK(error.where() == std::string(where));
    const std::string message = error.what();
    CHECK(message.find('\n') == message.npos);
    for (std::string_view fragment : fragments) {
      CHECK_MESSAGE(message.find(fragment) != message.npos, "no '", fragment, "' in: ", message);
    }
  }
}

constexpr std::string_view kSound =
    "--num-layers 12\n--hidden-size 768 --num-attention-heads 12 --seq-length 1024\n"
    "--max-position-embeddings 1024 --micro-batch-size 2\n--bf16\n";

// The sound arguments with more in line 5.
void expect_bad(std::string_view more, const std::vector<std::string_view>& fragments,
                std::string_view where = "file:5", ErrorKind kind = ErrorKind::bad_input) {
  expect_error(std::string(kSound) + std::string(more), where, fragments, kind);
}
void expect_refused(std::string_view more, const std::vector<std::string_view>& fragments) {
  expect_bad(more, fragments, "file:5", ErrorKind::not_modelled);
}

void expect_bad_json(std::string_view text, std::string_view where,
                     const std::vector<std::string_view>& fragments) {
  expect_error(text, where, fragments);
}

void expect_bad_script(std::string_view text, std::string_view where,
                       const std::vector<std::string_view>& fragments,
                       ErrorKind kind = ErrorKind::bad_input) {
  expect_error(text, where, fragments, kind);
}

}  // namespace

TEST_SUITE("input/bad megatron arguments") {
  TEST_CASE("the sound arguments of these tests are accepted") {
    CHECK_NOTHROW(read(kSound));
    CHECK_NOTHROW(read(std::string(kSound) + "--tensor-model-parallel-size 2 --lr 1e-4 --seed 1"));
  }

  TEST_CASE("files that are nothing of the kind") {
    expect_error("", "file", {"holds no arguments", "launch script"});
    expect_error(" \n# nothing\n", "file", {"holds no arguments"});
    expect_error("---\nMODEL_ARGS:\n  --num-layers: 12\n", "file", {"YAML", "turn it into JSON"});
    expect_error("MODEL_ARGS:\n  --num-layers: 12\n", "file", {"YAML"});
    expect_error("hello world", "file", {"starts no pretrain_*.py"});
    expect_error("\xff\xfe--a", "file", {"is no text"});
    expect_error(std::string_view("--a\0b", 5), "file", {"is no text"});
  }

  TEST_CASE("Muon") {
    CHECK_NOTHROW(read(std::string(kSound) + "--optimizer muon --muon-nesterov"));
    CHECK_NOTHROW(read(std::string(kSound) + "--optimizer dist_muon"));
    expect_bad("--optimizer muo", {"'muo'", "did you mean 'muon'?"});
    expect_bad("--optimizer muon --muon-fp32-matmul-prec low", {"'low' is no precision", "medium"});
    expect_bad("--optimizer muon --muon-fp32-matmul-prec highest", {"'highest'"});
    expect_bad("--optimizer muon --muon-tp-mode block", {"'blockwise'"});
    expect_bad("--optimizer muon --overlap-param-gather", {"needs the distributed optimizer"});
    expect_refused("--optimizer muon --muon-tp-mode duplicated --tensor-model-parallel-size 2",
                   {"--muon-tp-mode duplicated is not modelled"});
    expect_refused("--optimizer muon --muon-scalar-optimizer lion", {"lion is not modelled"});
    expect_refused("--optimizer adaptive_muon", {"adaptive_muon is not modelled"});
    constexpr std::string_view kHalf =
        "--num-layers 12\n--hidden-size 768 --num-attention-heads 12 --seq-length 1024\n"
        "--max-position-embeddings 1024 --micro-batch-size 2\n--fp16 --optimizer muon\n";
    expect_error(kHalf, "file:4", {"--fp16", "does not go with --optimizer muon"});
    const auto old = [](Version core, std::string_view more) {
      Job job;
      job.strategy.megatron.core = core;
      const std::string text = std::string(kSound) + std::string(more);
      apply_megatron(read_megatron(parse_megatron_text(text, "file")), job);
      return job.strategy;
    };
    using doctest::Contains;
    CHECK_THROWS_WITH(old({0, 15, 0}, "--optimizer muon"), Contains("Megatron-core 0.16"));
    CHECK_THROWS_WITH(old({0, 17, 0}, "--optimizer muon --use-distributed-optimizer"),
                      Contains("use --optimizer dist_muon"));
    CHECK_THROWS_WITH(old({0, 16, 0}, "--optimizer dist_muon --overlap-grad-reduce"),
                      Contains("does not go with --optimizer dist_muon"));
    CHECK(old({0, 17, 0}, "--optimizer dist_muon --overlap-grad-reduce").zero == 1);
    CHECK_FALSE(old({0, 17, 0}, "--optimizer dist_muon").megatron.muon.precomputed_layout);
    CHECK(old({0, 18, 0}, "--optimizer dist_muon").megatron.muon.precomputed_layout);
  }

  TEST_CASE("words that are no arguments") {
    expect_bad("--num-layer 3", {"'--num-layer' is no argument", "did you mean '--num-layers'?"});
    expect_bad("--tensor-parallel-size 2", {"is no argument of Megatron-LM"});
    expect_bad("--tp 2", {"'--tp' is no argument"});
    expect_bad("-bf16", {"--bf16 takes no value", "'-bf16' stands behind it"});
    expect_bad("--seed 1 --fp16=true", {"--fp16 takes no value", "give it alone"});
    expect_bad("--swiglu true", {"--swiglu takes no value", "'true'"});
    expect_bad("--ffn-hidden-size", {"its value is missing", "--ffn-hidden-size VALUE"});
    expect_bad("--ffn-hidden-size --swiglu", {"--ffn-hidden-size: its value is missing"});
    expect_bad("--ffn-hidden-size 3072 4096", {"unexpected word '4096'"});
    expect_bad("--ffn-hidden-size=3072 4096", {"unexpected word '4096'"});
    expect_bad("--num_layers 4", {"'--num_layers' is no argument", "--num-layers"});
    expect_bad("--NUM-LAYERS 4", {"is no argument"});
    expect_error("--num-layers 4 'x", "file:1", {"the quote ' is not closed"});
    expect_error("--num-layers 4\n--x \"y", "file:2", {"the quote \" is not closed"});
  }

  TEST_CASE("values") {
    expect_bad("--num-layers twelve", {"--num-layers: 'twelve' is not a whole number"});
    expect_bad("--num-layers 12.0", {"'12.0' is not a whole number"});
    expect_bad("--num-layers 0", {"0 is too small", "from 1 up"});
    expect_bad("--num-layers -4", {"-4 is too small"});
    expect_bad("--num-layers 99999999999999999999", {"is too large", "at most"});
    expect_bad("--num-layers 2000000", {"2000000 is too large"});
    expect_bad("--num-layers=", {"'' is not a whole number"});
    expect_bad("--hidden-dropout 1.5", {"1.5 is no share", "from 0 to 1"});
    expect_bad("--hidden-dropout -0.1", {"is negative"});
    expect_bad("--clip-grad nan", {"'nan' is not a number"});
    expect_bad("--clip-grad 1,0", {"'1,0' is not a number"});
    expect_bad("--normalization rmsnorm", {"'rmsnorm' is no choice", "RMSNorm"});
    expect_bad("--attention-backend flsh", {"'flsh' is no choice", "did you mean 'flash'?"});
    expect_bad("--transformer-impl te", {"'te' is no choice", "transformer_engine"});
    expect_bad("--recompute-granularity selectiv", {"did you mean 'selective'?"});
    expect_bad("--recompute-activations --recompute-modules mlpp", {"did you mean 'mlp'?"});
    expect_bad("--optimizer adamw", {"'adamw' is no choice", "adam"});
    expect_bad("--moe-router-load-balancing-type aux", {"'aux' is no choice"});
  }

  TEST_CASE("what is missing") {
    expect_error("--hidden-size 8", "--num-layers", {"is missing", "add --num-layers 32"});
    expect_error("--num-layers 2", "--hidden-size", {"is missing"});
    expect_error("--num-layers 2 --hidden-size 8", "--num-attention-heads", {"is missing"});
    expect_error("--num-layers 2 --hidden-size 8 --num-attention-heads 2",
                 "--max-position-embeddings", {"is missing"});
    expect_error(
        "--num-layers 2 --hidden-size 8 --num-attention-heads 2 --max-position-embeddings 8",
        "--seq-length", {"is missing"});
    expect_error(
        "--num-layers 2 --hidden-size 8 --num-attention-heads 2 --max-position-embeddings 8 "
        "--seq-length 8",
        "--micro-batch-size", {"is missing"});
    expect_bad("--tokenizer-type Llama2Tokenizer",
               {"the size of the vocabulary is not known", "add --vocab-size N"});
    expect_bad("--tokenizer-type NullTokenizer", {"vocabulary", "add --vocab-size N"});
  }

  TEST_CASE("sizes that do not go together") {
    expect_bad("--num-attention-heads 10", {"10 do not divide --hidden-size 768", "nearest: 8"});
    expect_bad("--group-query-attention --num-query-groups 5", {"5 do not divide", "nearest: 4"});
    expect_bad("--encoder-num-layers 3", {"is given beside --num-layers"});
    expect_bad("--seq-length 2048", {"2048 is more than --max-position-embeddings 1024"});
    expect_bad("--swiglu --squared-relu", {"--squared-relu: contradicts --swiglu"});
    expect_bad("--swiglu --quick-geglu", {"contradicts --swiglu"});
    expect_bad("--multi-latent-attention --group-query-attention",
               {"contradicts --multi-latent-attention"});
    expect_bad("--no-position-embedding", {"needs rotary positions"});
    expect_bad("--num-experts 4 --moe-router-topk 5", {"5 of 4 experts", "nearest: 4"});
    expect_bad("--num-experts 4 --moe-layer-freq [0,1]", {"has 2 entries for 12 layers"});
    expect_bad("--num-experts 4 --moe-layer-freq [0]*3+1", {"neither a number nor a list"});
    expect_bad("--num-experts 4 --moe-layer-freq [2]*12", {"neither a number nor a list"});
    expect_bad("--num-experts 4 --moe-layer-freq [0]*999999999999", {"neither a number nor"});
    expect_bad("--num-experts 4 --moe-layer-freq ((((([0])*12", {"neither a number nor a list"});
    expect_bad("--padded-vocab-size 1001 --tensor-model-parallel-size 2",
               {"1001 is no multiple", "nearest: 1002"});
  }

  TEST_CASE("parallelism that cannot be") {
    expect_bad("--tensor-model-parallel-size 5", {"5 does not divide", "nearest: 4"});
    expect_bad("--pipeline-model-parallel-size 5", {"5 does not divide --num-layers 12"});
    expect_bad("--context-parallel-size 3", {"no multiple of 2 · --context-parallel-size 3"},
               "file:2");
    expect_bad("--expert-model-parallel-size 2", {"the model has no experts"});
    expect_bad("--num-experts 4 --expert-model-parallel-size 3",
               {"3 does not divide --num-experts"});
    expect_bad("--num-experts 8 --expert-model-parallel-size 8 --pipeline-model-parallel-size 4",
               {"does not divide the 4 ranks"});
    expect_bad("--num-experts 4 --tensor-model-parallel-size 2", {"add --sequence-parallel"});
    expect_bad("--num-virtual-stages-per-pipeline-rank 2", {"need 2 stages at least"},
               "--pipeline-model-parallel-size");
    expect_bad(
        "--pipeline-model-parallel-size 2 --num-virtual-stages-per-pipeline-rank 2 "
        "--num-layers-per-virtual-pipeline-stage 2",
        {"give one of"});
    expect_bad("--pipeline-model-parallel-size 2 --num-layers-per-virtual-pipeline-stage 4",
               {"4 does not divide the layers of a stage, 6"});
    expect_bad("--pipeline-model-parallel-size 2 --decoder-first-pipeline-num-layers 13",
               {"layers are left for 1 stages"});
    expect_bad(
        "--pipeline-model-parallel-size 2 --decoder-first-pipeline-num-layers 4 "
        "--account-for-loss-in-pipeline-split",
        {"contradicts --decoder-first-pipeline-num-layers"});
    expect_bad("--pipeline-model-parallel-size 2 --pipeline-model-parallel-layout Et*6L|t*6L",
               {"L is not its last letter alone", "end with L"}, "file:5");
    expect_bad("--pipeline-model-parallel-size 2 --pipeline-model-parallel-layout Et*5|t*6L",
               {"it has 11 layers t"});
    expect_bad("--pipeline-model-parallel-size 2 --pipeline-model-parallel-layout Et*5|x*7L",
               {"the layout holds 'x'"});
    expect_bad("--pipeline-model-parallel-size 2 --pipeline-model-parallel-layout E(tt|*6L",
               {"( is not closed"});
    expect_bad("--pipeline-model-parallel-layout Et*99999999L", {"more than 100,000 letters"});
    expect_bad("--pipeline-model-parallel-size 2 --pipeline-model-parallel-layout Et*12L",
               {"1 chunks cannot be dealt to 2 stages"});
    expect_bad("--overlap-param-gather", {"add --use-distributed-optimizer"});
    expect_bad("--overlap-param-gather --use-distributed-optimizer", {"add --overlap-grad-reduce"});
    expect_bad("--num-distributed-optimizer-instances 2", {"needs the distributed optimizer"});
    expect_bad("--use-distributed-optimizer --num-distributed-optimizer-instances 3",
               {"3 does not divide the 16 ranks", "nearest: 2"});
    expect_bad("--global-batch-size 31", {"31 is no multiple", "nearest: 32"});
  }

  TEST_CASE("training that cannot be") {
    expect_bad("--fp16", {"--fp16: contradicts --bf16"});
    expect_bad("--main-params-dtype fp16", {"needs the precision-aware optimizer"});
    expect_bad("--use-precision-aware-optimizer --optimizer sgd", {"needs Adam"});
    expect_bad("--recompute-granularity full", {"full needs a method"});
    expect_bad("--recompute-granularity full --recompute-method block",
               {"full needs a number of layers"});
    expect_bad("--recompute-activations --recompute-method block",
               {"belongs to --recompute-granularity full"});
    expect_bad("--recompute-activations --recompute-modules moe_act", {"add --moe-grouped-gemm"});
    expect_bad("--recompute-activations --recompute-modules mla_up_proj", {"latent attention"});
    expect_bad("--distribute-saved-activations", {"needs tensor parallelism"});
    expect_bad("--deterministic-mode --cross-entropy-loss-fusion", {"contradicts --deterministic"});
    expect_bad("--transformer-impl local --attention-backend flash", {"Transformer Engine's"});
    expect_bad("--num-experts 4 --moe-pad-expert-input-to-capacity", {"needs a capacity"});
    expect_bad("--num-experts 4 --moe-shared-expert-overlap", {"allgather dispatcher"});
    expect_bad("--batch-size 4", {"no longer an argument", "use --micro-batch-size"});
  }

  TEST_CASE("what is refused by name") {
    expect_refused("--fp8-format hybrid --fp8-recipe blockwise",
                   {"blockwise is not modelled: tensorwise and delayed are"});
    CHECK_NOTHROW(read(std::string(kSound) + "--fp8-format hybrid"));
    expect_bad("--fp8-format hybrid --fp8-amax-history-len 0", {"0 is too small"});
    expect_refused("--fp8-format e4m3 --fp8-recipe mxfp8", {"--fp8-recipe mxfp8"});
    CHECK_NOTHROW(read(std::string(kSound) + "--fp8-format hybrid --fp8-recipe tensorwise"));
    expect_refused("--fp8-format e4m3 --no-fp8-wgrad", {"--no-fp8-wgrad: weight gradients"});
    CHECK_NOTHROW(read(std::string(kSound) + "--no-fp8-wgrad --disable-tp-comm-bulk-wgrad"));
    expect_refused("--tp-comm-overlap --disable-tp-comm-bulk-wgrad",
                   {"--disable-tp-comm-bulk-wgrad beside --tp-comm-overlap"});
    expect_bad("--fp8-format fp8", {"'fp8' is no choice"});
    expect_bad("--fp8-format e4m3 --fp8-recipe tensor", {"did you mean 'tensorwise'"});
    expect_refused("--use-megatron-fsdp", {"no_shard of Megatron-FSDP is not modelled"});
    const std::string sharded =
        "--use-megatron-fsdp --data-parallel-sharding-strategy optim_grads_params ";
    expect_refused(sharded, {"without --use-distributed-optimizer"});
    expect_refused(sharded + "--use-distributed-optimizer --megatron-fsdp-main-params-dtype bf16",
                   {"--megatron-fsdp-main-params-dtype bf16"});
    expect_refused(sharded + "--fsdp-double-buffer", {"form of Megatron-FSDP"});
    expect_refused("--use-torch-fsdp2", {"FSDP2"});
    expect_bad("--data-parallel-sharding-strategy full", {"'full' is no choice"});
    expect_refused("--spec a b", {"--spec"});
    expect_refused("--cpu-offloading-num-layers 2", {"offloading"});
    CHECK_NOTHROW(read(std::string(kSound) + "--cpu-offloading-num-layers 0"));
    expect_refused("--use-checkpoint-args", {"checkpoint"});
    expect_refused("--yaml-cfg x.yaml", {"YAML"});
    expect_refused("--optimizer soap", {"soap is not modelled"});
    expect_refused("--position-embedding-type yarn", {"yarn is not modelled"});
    expect_refused("--transformer-impl inference_optimized", {"inference_optimized"});
    expect_bad_script("python pretrain_bert.py --a 1", "file:1",
                      {"pretrain_bert.py is not modelled"}, ErrorKind::not_modelled);
  }

  TEST_CASE("hybrid models") {
    CHECK_NOTHROW(read(std::string(kSound) + "--hybrid-layer-pattern M-M*"));
    expect_bad("--hybrid-layer-pattern M-Mx", {"'x' is no kind of layer", "letters are M, *, -"});
    expect_bad("--hybrid-layer-pattern |", {"holds no layer"});
    expect_bad("--hybrid-layer-pattern M- --hybrid-override-pattern M-", {"beside"});
    expect_bad("--hybrid-override-pattern M-M", {"is not the 3 layers of --hybrid-override"},
               "file:1");
    expect_bad("--hybrid-layer-pattern M-M|*|M --pipeline-model-parallel-size 2",
               {"its 3 parts cannot be dealt", "4 parts"});
    expect_bad("--hybrid-layer-pattern M-M* --num-virtual-stages-per-pipeline-rank 2",
               {"does not go with a hybrid model"});
    expect_bad("--hybrid-layer-pattern M-M* --mamba-head-dim 100", {"does not divide the mixer"});
    expect_bad("--hybrid-layer-pattern M-M* --mamba-num-groups 5", {"5 does not divide"});
    expect_bad("--hybrid-layer-pattern M-M* --mamba-num-groups 2 --tensor-model-parallel-size 4",
               {"4 does not divide --mamba-num-groups 2"});
    expect_bad("--hybrid-layer-pattern MEM*", {"layers E of a model without experts"});
    expect_bad("--hybrid-attention-ratio 0.8 --hybrid-mlp-ratio 0.5", {"more than 1 together"});
    expect_bad("--mamba-num-heads 8", {"belongs to hybrid models"});
    expect_bad_script("python pretrain_gpt.py --is-hybrid-model", "file:1",
                      {"--is-hybrid-model: belongs to hybrid models"});
    expect_refused("--hybrid-layer-pattern M-MG", {"layers of kind G"});
    expect_refused("--hybrid-layer-pattern M-M*/M*", {"multi-token prediction"});
    expect_refused("--hybrid-layer-pattern M-M* --spec a b", {"--spec"});
    expect_refused("--hybrid-layer-pattern M-M* --mamba-training-ssm-states-dtype fp32",
                   {"states in a dtype of their own"});
    expect_refused("--hybrid-layer-pattern M-M* --disable-mamba-mem-eff-path", {"unfused mixer"});
    expect_refused("--hybrid-layer-pattern M-M* --transformer-impl local", {"local"});
    expect_bad_script("python pretrain_gpt.py --hybrid-layer-pattern M-M*", "file:1",
                      {"belongs to hybrid models"});
    expect_bad_script("python pretrain_mamba.py --hidden-size 64", "--hybrid-layer-pattern",
                      {"is missing"});
  }

  TEST_CASE("JSON") {
    expect_bad_json("{\"--num-layers\": 12", "file: line 1, column 20",
                    {"the file ends in the middle"});
    expect_bad_json("{\"num_layers\": 12}", "file: /num_layers", {"arguments begin with --"});
    expect_bad_json("{\"--num-layers\": \"x\"}", "file: /--num-layers", {"is not a whole number"});
    expect_bad_json("{\"MODEL_ARGS\": {\"--num-layers\": {}}}", "file: /MODEL_ARGS/--num-layers",
                    {"is no object"});
    expect_bad_json("{\"MODEL_ARGS\": 3}", "file: /MODEL_ARGS", {"object"});
    expect_bad_json("{\"--num-layers\": 2.5}", "file: /--num-layers", {"'2.5' is not a whole"});
    expect_bad_json("{\"--swiglu\": 1}", "file: /--swiglu", {"takes no value"});
    expect_bad_json("{\"--num-layers\": true}", "file: /--num-layers", {"value is missing"});
    expect_bad_json("{\"--bogus\": 1}", "file: /--bogus", {"is no argument of Megatron-LM"});
    expect_bad_json("{\"--a\": 1, \"--a\": 2}", "file: /--a", {"twice"});
  }

  TEST_CASE("scripts") {
    expect_bad_script("#!/bin/bash\necho pretrain_gpt.py\n", "file", {"starts no pretrain_*.py"});
    expect_bad_script("python pretrain_gpt.py\npython pretrain_gpt.py\n", "file:2",
                      {"keep one launch line"});
    expect_bad_script("A=(--a\npython pretrain_gpt.py", "file:1", {"( is not closed"});
    expect_bad_script("A=\"x\npython pretrain_gpt.py", "file:1", {"the quote \" is not closed"});
    expect_bad_script("A=$(date\npython pretrain_gpt.py", "file:1", {"( is not closed"});
    expect_bad_script("python pretrain_gpt.py --num-layers $L", "file:1",
                      {"--num-layers: $L is not set in this script", "write its value"});
    expect_bad_script("python pretrain_gpt.py $ARGS", "file:1",
                      {"$ARGS is not set in this script", "leave it away"});
    expect_bad_script("L=`nproc`\npython pretrain_gpt.py --num-layers $L", "file:1",
                      {"prints is not known"});
    expect_bad_script("python pretrain_gpt.py --num-layers $((A*2))", "file:1", {"is not known"});
    expect_bad_script("python pretrain_gpt.py --num-layers $((4/0))", "file:1", {"is not known"});
    expect_bad_script("A=--x\nA=$A$A\n" +
                          [] {
                            std::string text;
                            for (int i = 0; i < 40; ++i) text += "A=\"$A $A\"\n";
                            return text;
                          }() +
                          "python pretrain_gpt.py $A",
                      "file:21", {"more than 4 MiB"});
    expect_bad_script("X=" +
                          [] {
                            std::string text;
                            for (int i = 0; i < 500; ++i) text += "${A:-";
                            return text + std::string(500, '}');
                          }() +
                          "\n",
                      "file:1", {"nested too deeply"});
    expect_bad_script("python pretrain_gpt.py a(b)", "file:1", {"unexpected ("});
    expect_bad_script("CUBLAS_WORKSPACE_CONFIG=4096 python pretrain_gpt.py " +
                          std::string("--num-layers 2 --hidden-size 8 --num-attention-heads 2 "
                                      "--seq-length 8 --max-position-embeddings 8 "
                                      "--micro-batch-size 1"),
                      "file:1", {"CUBLAS_WORKSPACE_CONFIG: '4096' is not :SIZE:COUNT"});
  }
}
