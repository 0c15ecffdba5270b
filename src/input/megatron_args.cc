#include "input/megatron_args.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "input/megatron_model.h"
#include "memplan/error.h"
#include "memplan/units.h"

namespace memplan {

void megatron_missing(std::string_view argument, std::string_view example) {
  throw Error(ErrorKind::bad_input, std::string(argument), "is missing from the arguments",
              fmt::format("add {} {}", argument, example));
}

void megatron_bad(const std::string& where, std::string_view argument, std::string problem,
                  std::string hint) {
  const std::string name(argument);
  if (where.empty()) throw Error(ErrorKind::bad_input, name, std::move(problem), std::move(hint));
  throw Error(ErrorKind::bad_input, where, name + ": " + std::move(problem), std::move(hint));
}

void megatron_refuse(const std::string& where, std::string problem) {
  throw Error(ErrorKind::not_modelled, where, std::move(problem));
}

namespace {

// Variables that change memory. In front of the arguments, as a shell has them, they are part of
// what was given.
constexpr auto kVariables = std::to_array<std::string_view>(
    {"CUBLAS_WORKSPACE_CONFIG", "NVTE_FLASH_ATTN", "NVTE_FUSED_ATTN"});

bool is_variable(const MegatronWord& word) {
  const std::string name = word.text.substr(0, word.text.find('='));
  return name.size() < word.text.size() && std::ranges::find(kVariables, name) != kVariables.end();
}

struct Script {
  std::string_view name;
  MegatronScript kind;
};
constexpr auto kScripts = std::to_array<Script>({
    {"pretrain_gpt.py", MegatronScript::gpt},
    {"pretrain_t5.py", MegatronScript::t5},
    {"pretrain_mamba.py", MegatronScript::hybrid},
    {"pretrain_hybrid.py", MegatronScript::hybrid},
});

const Script& script_named(const std::string& name, const std::string& where) {
  const auto at = std::ranges::find(kScripts, name, &Script::name);
  if (at != kScripts.end()) return *at;
  throw Error(ErrorKind::not_modelled, where, printable(name) + " is not modelled yet",
              "pretrain_gpt.py, pretrain_t5.py, pretrain_mamba.py and pretrain_hybrid.py are");
}

// What belongs to other scripts than this one.
void refuse_other_scripts(const MegatronValues& v, MegatronScript script) {
  if (script != MegatronScript::t5) {
    const auto only_t5 = [](const StatedCount& given, const char* name) {
      if (given.given())
        megatron_refuse(given.where, std::string(name) + " is pretrain_t5.py's alone");
    };
    only_t5(v.decoder_layers, "--decoder-num-layers");
    only_t5(v.decoder_sequence, "--decoder-seq-length");
  }
  if (script != MegatronScript::hybrid) refuse_hybrid(v);
}

}  // namespace

MegatronArguments read_megatron(const MegatronLaunch& launch,
                                const std::vector<MegatronWord>& over) {
  MegatronArguments out;
  const Script* script = nullptr;
  if (!launch.script.empty()) script = &script_named(launch.script, launch.script_where);
  out.from = launch.from;
  out.environment = launch.environment;
  auto first = std::ranges::find_if_not(launch.words, is_variable);
  for (auto word = launch.words.begin(); word != first; ++word) {
    const size_t equals = word->text.find('=');
    out.environment.push_back({word->text.substr(0, equals),
                               {word->text.substr(equals + 1), word->where, word->unknown}});
  }
  if (!script && first != launch.words.end() && first->text.ends_with(".py")) {
    script = &script_named(first->text, first->where);
    ++first;
  }
  std::vector<MegatronWord> words(first, launch.words.end());
  words.insert(words.end(), over.begin(), over.end());
  out.values = read_megatron_values(words);
  // Arguments without a script are pretrain_gpt.py's, but for those of a hybrid model.
  out.script = script                    ? script->kind
               : says_hybrid(out.values) ? MegatronScript::hybrid
                                         : MegatronScript::gpt;
  if (out.script == MegatronScript::hybrid) expand_hybrid(out.values);
  // args_defaults of the script
  if (out.script == MegatronScript::t5 && !out.values.tokenizer.given())
    out.values.tokenizer.value = "BertWordPieceLowerCase";
  for (const auto& [name, value] : out.environment)
    if (std::ranges::find(kVariables, name) != kVariables.end())
      out.words.push_back(name + "=" + value.text);
  if (script && script->kind != MegatronScript::gpt) out.words.emplace_back(script->name);
  for (const MegatronWord& word : words) out.words.push_back(word.text);
  return out;
}

void apply_megatron(const MegatronArguments& arguments, Job& job) {
  const MegatronValues& v = arguments.values;
  job.strategy.framework = Framework::megatron;
  refuse_other_scripts(v, arguments.script);
  apply_megatron_model(v, job);
  apply_megatron_parallel(v, job);
  apply_megatron_training(v, job);
  apply_megatron_environment(arguments, job);
  if (arguments.script == MegatronScript::t5) apply_megatron_t5(v, job);
  if (arguments.script == MegatronScript::hybrid) apply_megatron_hybrid(v, job);
  job.model.name = arguments.from;
  job.model.source = "arguments of Megatron-LM";
  job.strategy.megatron.arguments = arguments.words;
}

void finish_megatron(const MegatronArguments& arguments, Job& job) {
  const MegatronValues& v = arguments.values;
  Strategy& s = job.strategy;
  const int64_t replicas = checked_mul(s.micro_batch, s.dp);
  s.global_batch = v.global_batch.given() ? v.global_batch.value : replicas;
  if (s.global_batch % replicas != 0)
    megatron_bad(v.global_batch.where, "--global-batch-size",
                 fmt::format("{} is no multiple of --micro-batch-size {} · dp {}", s.global_batch,
                             s.micro_batch, s.dp),
                 fmt::format("nearest: {}", ceil_div(s.global_batch, replicas) * replicas));
  const int64_t micro_batches = s.global_batch / replicas;
  if (s.vpp > 1 && v.micro_batch_group.given() && v.micro_batch_group.value > micro_batches)
    megatron_bad(v.micro_batch_group.where, "--microbatch-group-size-per-virtual-pipeline-stage",
                 fmt::format("{} is more than the {} micro-batches of a step",
                             v.micro_batch_group.value, micro_batches),
                 fmt::format("nearest: {}", micro_batches));
  if (s.vpp > 1 && micro_batches < s.pp)
    megatron_bad(v.global_batch.where, "--global-batch-size",
                 fmt::format("{} micro-batches are too few for {} stages with virtual ones",
                             micro_batches, s.pp),
                 fmt::format("nearest: {}", checked_mul(replicas, s.pp)));
  if (v.optimizer_instances.value > 1 && s.dp * s.cp % v.optimizer_instances.value != 0)
    megatron_bad(
        v.optimizer_instances.where, "--num-distributed-optimizer-instances",
        fmt::format("{} does not divide the {} ranks that share parameters",
                    v.optimizer_instances.value, s.dp * s.cp),
        fmt::format("nearest: {}", nearest_divisor(s.dp * s.cp, v.optimizer_instances.value)));
  if (job.model.moe.experts == 0) return;
  const int64_t expert_tp = v.expert_tp.given() ? v.expert_tp.value : s.tp;
  const int64_t ranks = product({s.tp, s.cp, s.dp});
  const int64_t group = checked_mul(expert_tp, s.ep);
  if (ranks % group != 0)
    megatron_bad(v.ep.where, "--expert-model-parallel-size",
                 fmt::format("expert tensor parallelism {} × expert parallelism {} does not divide "
                             "the {} ranks of a pipeline stage",
                             expert_tp, s.ep, ranks),
                 fmt::format("nearest: {}", nearest_divisor(ranks, group)));
}

std::vector<std::pair<std::string, std::string>> megatron_origins(
    const MegatronArguments& arguments) {
  const MegatronValues& v = arguments.values;
  std::vector<std::pair<std::string, std::string>> out;
  const auto add = [&](const char* key, const auto& stated, const char* argument) {
    if (stated.given()) out.emplace_back(key, stated.where + " " + argument);
  };
  add("tp", v.tp, "--tensor-model-parallel-size");
  add("pp", v.pp, "--pipeline-model-parallel-size");
  add("vpp", v.virtual_layers, "--num-layers-per-virtual-pipeline-stage");
  add("vpp", v.virtual_stages, "--num-virtual-stages-per-pipeline-rank");
  add("vpp", v.layout,
      arguments.script == MegatronScript::hybrid ? "--hybrid-layer-pattern"
                                                 : "--pipeline-model-parallel-layout");
  add("cp", v.cp, "--context-parallel-size");
  add("ep", v.ep, "--expert-model-parallel-size");
  add("zero", v.distributed_optimizer, "--use-distributed-optimizer");
  add("sequence_parallel", v.sequence_parallel, "--sequence-parallel");
  add("micro_batch", v.micro_batch, "--micro-batch-size");
  add("global_batch", v.global_batch, "--global-batch-size");
  add("seq", v.sequence, "--seq-length");
  add("seq", v.encoder_sequence, "--encoder-seq-length");
  add("precision", v.bf16, "--bf16");
  add("precision", v.fp16, "--fp16");
  add("optimizer", v.optimizer, "--optimizer");
  add("clip", v.clip, "--clip-grad");
  add("recompute", v.recompute_activations, "--recompute-activations");
  add("recompute", v.recompute_granularity, "--recompute-granularity");
  add("attention", v.backend, "--attention-backend");
  return out;
}

}  // namespace memplan
