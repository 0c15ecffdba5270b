#include "cli/megatron_job.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "cli/settings.h"
#include "memplan/error.h"
#include "report/request.h"

namespace memplan {
namespace {

[[noreturn]] void bad(const Given& given, std::string problem, std::string hint) {
  throw Error(ErrorKind::bad_input, given.where, std::move(problem), std::move(hint));
}

// What an option does to the arguments: words that go, and words that come.
struct Change {
  std::vector<std::string_view> drop;
  std::vector<std::string_view> add;
};

template <typename T>
struct Choice {
  std::string_view text;
  T value;
};

Change choose(const Given& given, std::span<const Choice<Change>> choices) {
  std::vector<std::string_view> names;
  for (const Choice<Change>& choice : choices) {
    if (choice.text == given.text) return choice.value;
    names.push_back(choice.text);
  }
  bad(given, quoted(printable(given.text)) + " is nothing that Megatron-LM has",
      name_hint(given.text, names));
}

Change precision(const Given& given) {
  const std::vector<std::string_view> types = {"--bf16", "--fp16"};
  const Change bf16{types, {"--bf16"}}, fp16{types, {"--fp16"}};
  return choose(given, std::array<Choice<Change>, 5>{{{"mixed-bf16", bf16},
                                                      {"mixed-fp16", fp16},
                                                      {"fp32", {types, {}}},
                                                      {"bf16", bf16},
                                                      {"fp16", fp16}}});
}

Change gradient_dtype(const Given& given) {
  const std::vector<std::string_view> wide = {"--accumulate-allreduce-grads-in-fp32"};
  const std::vector<std::string_view> narrow = {"--grad-reduce-in-bf16"};
  return choose(given,
                std::array<Choice<Change>, 3>{
                    {{"fp32", {narrow, wide}}, {"bf16", {wide, narrow}}, {"fp16", {wide, {}}}}});
}

Change optimizer(const Given& given) {
  const auto named = [](std::string_view name) {
    return Change{{"--optimizer"}, {"--optimizer", name}};
  };
  return choose(
      given,
      std::array<Choice<Change>, 6>{
          {{"adamw", named("adam")},
           {"adam", named("adam")},
           {"sgd",
            {{"--optimizer", "--sgd-momentum"}, {"--optimizer", "sgd", "--sgd-momentum", "0"}}},
           {"sgd-momentum", {{"--optimizer", "--sgd-momentum"}, {"--optimizer", "sgd"}}},
           {"muon", named("muon")},
           {"lion", named("lion")}}});
}

Change recompute(const Given& given) {
  const std::vector<std::string_view> all = {
      "--recompute-activations",       "--recompute-granularity", "--recompute-method",
      "--recompute-num-layers",        "--recompute-modules",     "--moe-layer-recompute",
      "--distribute-saved-activations"};
  return choose(given, std::array<Choice<Change>, 3>{
                           {{"none", {all, {}}},
                            {"selective", {all, {"--recompute-granularity", "selective"}}},
                            {"full",
                             {all,
                              {"--recompute-granularity", "full", "--recompute-method", "uniform",
                               "--recompute-num-layers", "1"}}}}});
}

Change attention(const Given& given) {
  const std::vector<std::string_view> all = {"--attention-backend"};
  return choose(given, std::array<Choice<Change>, 2>{
                           {{"flash", {all, {"--attention-backend", "flash"}}},
                            {"unfused", {all, {"--attention-backend", "unfused"}}}}});
}

Change zero(const Given& given) {
  // ZeRO-3 is Megatron-FSDP's, which the arguments alone ask for.
  const std::vector<std::string_view> sharded = {"--use-megatron-fsdp", "--use-custom-fsdp",
                                                 "--data-parallel-sharding-strategy"};
  std::vector<std::string_view> all = {"--use-distributed-optimizer", "--overlap-param-gather",
                                       "--num-distributed-optimizer-instances"};
  all.insert(all.end(), sharded.begin(), sharded.end());
  return choose(given, std::array<Choice<Change>, 2>{
                           {{"0", {all, {}}}, {"1", {sharded, {"--use-distributed-optimizer"}}}}});
}

Change sequence_parallel(const Given& given) {
  return choose(given, std::array<Choice<Change>, 2>{{{"true", {{}, {"--sequence-parallel"}}},
                                                      {"false", {{"--sequence-parallel"}, {}}}}});
}

Change said_by_arguments(const Given& given) {
  bad(given, "contradicts the arguments of Megatron-LM, which say it",
      "change --bf16, --fp16, --main-params-dtype or --exp-avg-dtype there");
}

// Options whose value is the argument's. {option, argument, others that say it too}
struct SameRow {
  std::string_view option, argument;
  std::array<std::string_view, 3> others = {};
};
constexpr auto kSame = std::to_array<SameRow>({
    {"--tp", "--tensor-model-parallel-size"},
    {"--pp", "--pipeline-model-parallel-size"},
    {"--vpp",
     "--num-virtual-stages-per-pipeline-rank",
     {"--num-layers-per-virtual-pipeline-stage", "--pipeline-model-parallel-layout"}},
    {"--cp", "--context-parallel-size"},
    {"--ep", "--expert-model-parallel-size"},
    {"--micro-batch", "--micro-batch-size"},
    {"--global-batch", "--global-batch-size"},
    {"--seq", "--seq-length", {"--encoder-seq-length"}},
});

// Options that are spelled another way.
struct OtherRow {
  std::string_view option;
  Change (*change)(const Given&);
};
constexpr auto kOther = std::to_array<OtherRow>({
    {"--precision", precision},
    {"--weight-dtype", said_by_arguments},
    {"--grad-dtype", gradient_dtype},
    {"--optimizer-dtype", said_by_arguments},
    {"--optimizer", optimizer},
    {"--recompute", recompute},
    {"--attention", attention},
    {"--zero", zero},
    {"--sequence-parallel", sequence_parallel},
});

const SameRow* find_same(std::string_view option) {
  const auto* row = std::ranges::find(kSame, option, &SameRow::option);
  return row == kSame.end() ? nullptr : row;
}
const OtherRow* find_other(std::string_view option) {
  const auto* row = std::ranges::find(kOther, option, &OtherRow::option);
  return row == kOther.end() ? nullptr : row;
}

void drop(std::vector<MegatronWord>& words, std::string_view argument) {
  std::vector<MegatronWord> kept;
  bool dropping = false;
  for (MegatronWord& word : words) {
    if (word.text.starts_with("--"))
      dropping = word.text == argument || word.text.starts_with(std::string(argument) + "=");
    if (!dropping) kept.push_back(std::move(word));
  }
  words = std::move(kept);
}

void change(const Given& given, std::vector<MegatronWord>& words) {
  Change change;
  if (const SameRow* same = find_same(given.option)) {
    parse_count(given.text, given.where);
    change = {{same->argument}, {same->argument, given.text}};
    for (std::string_view other : same->others)
      if (!other.empty()) change.drop.push_back(other);
  } else {
    change = find_other(given.option)->change(given);
  }
  for (std::string_view argument : change.drop) drop(words, argument);
  // dist_muon is Muon with the distributed optimizer (megatron/training/arguments.py).
  constexpr std::string_view kDistributed = "dist_muon";
  if (given.option == "--zero" && given.text == "0")
    for (MegatronWord& word : words)
      if (word.text.ends_with(kDistributed))
        word.text.replace(word.text.size() - kDistributed.size(), kDistributed.size(), "muon");
  for (std::string_view word : change.add) words.push_back({std::string(word), given.where});
}

bool repeats(const Given& given, const Job& job) {
  for (const Setting& setting : settings_of(job))
    if (option_of(setting.key) == given.option) return setting_text(setting.value) == given.text;
  return false;
}

}  // namespace

bool is_megatron_option(std::string_view option) {
  return find_same(option) != nullptr || find_other(option) != nullptr;
}

void MegatronJob::read(Job& job) {
  job.assumptions = assumptions_;
  arguments_ = read_megatron(launch_);
  apply_megatron(arguments_, job);
}

void MegatronJob::apply(const std::vector<Given>& given, Job& job) {
  assumptions_ = job.assumptions;
  // Where the options mend what the arguments alone cannot be, nothing is repeated.
  bool sound = true;
  Job plain = job;
  try {
    read(plain);
  } catch (const Error&) {
    if (given.empty()) throw;
    sound = false;
  }
  for (const Given& one : given)
    if (is_megatron_option(one.option) && one.option != "--global-batch" &&
        !(sound && repeats(one, plain)))
      change(one, launch_.words);
  read(job);
}

void MegatronJob::finish(const std::vector<Given>& given, Job& job) {
  const auto batch = std::ranges::find(given, "--global-batch", &Given::option);
  if (batch != given.end()) {
    Job plain = job;
    bool repeated = false;
    try {
      finish_megatron(arguments_, plain);
      repeated = repeats(*batch, plain);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::bad_input) throw;
    }
    if (!repeated) {
      change(*batch, launch_.words);
      arguments_ = read_megatron(launch_);
      job.strategy.megatron.arguments = arguments_.words;
    }
  }
  finish_megatron(arguments_, job);
}

}  // namespace memplan
