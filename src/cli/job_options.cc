#include "cli/job_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cli/framework_defaults.h"
#include "cli/megatron_job.h"
#include "cli/settings.h"
#include "input/peft_config.h"
#include "memplan/error.h"
#include "ops/optimizer.h"
#include "policy/fsdp.h"
#include "policy/pytorch.h"
#include "report/request.h"

namespace memplan {
namespace {

constexpr int64_t kUsualSequence = 4096;  // where nobody says and the model allows it
constexpr int64_t kBareSequence = 1024;   // nothing of a bare size depends on it

// Is this what a PyTorch job has anyway? Reports spell it out.
bool is_plain(const Given& given) {
  Job plain;
  plain.strategy.framework = Framework::pytorch;
  for (const Setting& setting : settings_of(plain))
    if (option_of(setting.key) == given.option) return setting_text(setting.value) == given.text;
  return false;
}

class Builder : private JobDraft {
 public:
  Builder(const ModelSpec& model, std::string_view model_from, const std::vector<Given>& given)
      : JobDraft{given, {}} {
    built.job.model = model;
    built.origins.push_back({"model", std::string(model_from)});
    for (const Given& setting : settings) from(key_of(setting.option), setting.from);
  }
  Builder(const MegatronLaunch& launch, const std::vector<Given>& given)
      : Builder(ModelSpec(), launch.from, given) {
    megatron_.emplace(launch);
  }

  BuiltJob build() {
    Job& job = built.job;
    job.cluster.gpus = 0;  // not known yet
    job.cluster.gpus_per_node = 0;
    refuse_contradictions();
    if (megatron_)
      start_from_megatron();
    else
      start_from_framework();
    for (const SettingRow& row : setting_rows())
      if (const Given* setting = find(row.option); setting && !said_to_megatron(row.option))
        apply(row, *setting);
    refuse_eager_settings();
    require_gpu();
    if (megatron_) fill_launched_gpus();
    fill_gpus();
    if (megatron_) {
      megatron_->finish(settings, job);
    } else {
      fill_precision(*this);
      if (job.strategy.framework == Framework::megatron) fill_megatron(*this);
      if (fsdp::shards_parameters(job.strategy)) fill_fsdp(*this);
      if (job.strategy.framework == Framework::deepspeed) fill_deepspeed(*this);
      fill_sequence();
      fill_batch();
    }
    fill_peft();
    note_presets();
    if (const Given* offload = find("--offload");
        offload != nullptr && (offload->text == "cpu" || offload->text == "nvme"))
      assume("--offload " + offload->text + " is " + offload_text(job.strategy.offload));
    return std::move(built);
  }

 private:
  // --cluster says which GPU and how many; saying it again must not say something else.
  void refuse_contradictions() {
    const Given* cluster = find("--cluster");
    if (cluster == nullptr) return;
    const Cluster said = parse_cluster(cluster->text, cluster->where);
    if (const Given* gpu = find("--gpu");
        gpu && find_gpu(gpu->text, gpu->where).name != said.gpu.name)
      throw Error(ErrorKind::bad_input, gpu->where,
                  fmt::format("{} contradicts --cluster {}, whose GPUs are {}", gpu->text,
                              cluster->text, said.gpu.name),
                  "give one of the two");
    if (const Given* gpus = find("--gpus");
        gpus && parse_count(gpus->text, gpus->where) != said.gpus)
      throw Error(ErrorKind::bad_input, gpus->where,
                  fmt::format("{} contradicts --cluster {}, which has {} GPUs", gpus->text,
                              cluster->text, said.gpus),
                  "give one of the two");
    for (const char* key : {"gpu", "gpus", "gpus_per_node", "network", "host_memory"})
      if (!find(option_of(key))) from(key, "--cluster " + cluster->text);
  }

  // PyTorch keeps weights, gradients and moments in one dtype and picks attention's kernel itself;
  // transformers' Trainer clips (TrainingArguments.max_grad_norm 1.0).
  // torchtitan 0.2.2, config/job_config.py: Optimizer, Training and Parallelism.
  void start_torchtitan(Strategy& s) const {
    s.optimizer_impl = OptimizerImpl::fused;
    s.clip_gradients = true;
    s.fsdp.reduce_dtype = DType::f32;
    s.fsdp.root_after_forward = 1;
  }

  void start_from_framework() {
    const Given* given = find("--framework");
    if (given == nullptr) return;
    const auto framework = parse_name<Framework>(given->text, given->where);
    built.job.model.implementation = implementation_of(framework);
    if (!pytorch::is_eager(framework)) return;
    Strategy& s = built.job.strategy;
    const std::string origin = "default of framework " + given->text;
    s.framework = framework;
    const bool sharded = framework == Framework::fsdp1 || framework == Framework::fsdp2 ||
                         framework == Framework::deepspeed || framework == Framework::torchtitan;
    s.precision = parse_precision(sharded ? "mixed-bf16" : "bf16", given->where);
    s.attention = AttentionKind::sdpa;
    s.clip_gradients = runs_in_trainer(framework) && !spends_gradients();
    s.keep_outputs = framework == Framework::litgpt;  // its loop's variable `logits`
    if (framework == Framework::torchtune) {          // recipes/configs, 0.4: all but a few of them
      s.loss = LossKind::torchtune_chunked;
      const Given* optimizer = find("--optimizer");
      if (!optimizer || optimizer->text == "adamw") s.optimizer_impl = OptimizerImpl::fused;
    }
    if (framework == Framework::torchtitan) start_torchtitan(s);
    for (const char* option : {"--precision", "--attention", "--clip"})
      if (!find(option)) from(key_of(option), origin);
    if (!find("--attention")) assume("attention sdpa, PyTorch's choice of kernel");
    if (s.clip_gradients && !find("--clip")) assume("gradients are clipped, as Trainer does");
    if (!find("--padding-mask")) assume("batches without padding");
  }

  bool said_to_megatron(std::string_view option) const {
    return megatron_ && is_megatron_option(option);
  }

  // Arguments of Megatron-LM say all of the model and most of the rest.
  void start_from_megatron() {
    Job& job = built.job;
    if (const Given* steps = find("--accumulation"))
      throw Error(ErrorKind::bad_input, steps->where, "is no setting of Megatron-LM",
                  "give --global-batch");
    const Given* framework = find("--framework");
    if (framework && framework->text != to_string(Framework::megatron))
      throw Error(ErrorKind::bad_input, framework->where,
                  framework->text + " does not read arguments of Megatron-LM",
                  "leave --framework away");
    from("framework", megatron_->launch().from);
    // Defaults differ by version.
    if (const Given* version = find("--megatron-version"))
      apply(*find_setting("--megatron-version"), *version);
    megatron_->apply(settings, job);
    for (const auto& [key, origin] : megatron_origins(megatron_->arguments()))
      if (!find(option_of(key))) from(key, origin);
  }

  // Where no option says how many GPUs there are, the launcher does.
  void fill_launched_gpus() {
    Cluster& c = built.job.cluster;
    const MegatronLaunch& launch = megatron_->launch();
    if (c.gpus != 0 || find("--dp")) return;
    if (!launch.gpus)
      throw Error(ErrorKind::bad_input, "--gpus", "nothing says how many GPUs the job has",
                  "add --gpus N, or --dp N");
    c.gpus = *launch.gpus;
    from("gpus", launch.script_where);
    if (c.gpus_per_node != 0 || !launch.gpus_per_node) return;
    c.gpus_per_node = *launch.gpus_per_node;
    from("gpus_per_node", launch.script_where);
  }

  // Then none are left to clip.
  bool spends_gradients() const {
    const Given* in_backward = find("--optimizer-in-backward");
    const Given* optimizer = find("--optimizer");
    return (in_backward && !is_plain(*in_backward)) ||
           (optimizer &&
            updates_in_backward(parse_name<OptimizerKind>(optimizer->text, optimizer->where)));
  }

  void refuse_eager_settings() const {
    const Strategy& s = built.job.strategy;
    const Given* chunks = find("--loss-chunks");
    if (chunks && !has_chunks(s.loss) && !is_plain(*chunks))
      throw Error(ErrorKind::bad_input, chunks->where,
                  "belongs to losses whose chunks can be chosen",
                  "add --loss torchtune-chunked, torchtune-linear or torchtitan-chunked, or leave "
                  "the chunks away");
    for (const char* option : {"--megatron-version", "--te-version"})
      if (const Given* version = find(option); version && s.framework != Framework::megatron)
        throw Error(ErrorKind::bad_input, version->where, "belongs to --framework megatron",
                    "leave it away");
    for (const char* option : {"--torchtitan-version", "--recompute-every"})
      if (const Given* given = find(option); given && s.framework != Framework::torchtitan)
        throw Error(ErrorKind::bad_input, given->where, "belongs to --framework torchtitan",
                    "leave it away");
    const std::string framework(to_string(s.framework));
    for (const SettingRow& row : setting_rows()) {
      const Given* given = find(row.option);
      const bool own = given && given->where == row.option;  // not a file's
      if (row.group == SettingGroup::fsdp && own && !fsdp::shards_parameters(s))
        throw Error(ErrorKind::bad_input, given->where,
                    "belongs to FSDP, which framework " + framework + " does not use",
                    "add --framework fsdp1, fsdp2 or torchtitan, or leave it away");
      if (row.help.starts_with("fsdp1: ") && own && s.framework != Framework::fsdp1)
        throw Error(
            ErrorKind::bad_input, given->where,
            "belongs to FullyShardedDataParallel, which framework " + framework + " does not use",
            "add --framework fsdp1, or leave it away");
      if (row.group == SettingGroup::deepspeed && given && given->where == row.option &&
          s.framework != Framework::deepspeed)
        throw Error(ErrorKind::bad_input, given->where,
                    "belongs to DeepSpeed, which framework " + framework + " does not use",
                    "add --framework deepspeed, or leave it away");
    }
    if (pytorch::is_eager(s.framework)) return;
    const auto refuse = [&](const Given& given) {
      throw Error(ErrorKind::not_modelled, given.where,
                  "framework " + framework + " does not tell this apart",
                  "add --framework pytorch or --framework huggingface");
    };
    for (const SettingRow& row : setting_rows()) {
      const Given* given = find(row.option);
      if (row.group == SettingGroup::eager && given != nullptr && !is_plain(*given)) refuse(*given);
    }
    const Given* attention = find("--attention");
    if (attention && s.attention == AttentionKind::sdpa) refuse(*attention);
  }

  void require_gpu() {
    if (!built.job.cluster.gpu.name.empty()) return;
    throw Error(ErrorKind::bad_input, "--gpu", "no GPU is named, so nothing can be said to fit",
                "add --gpu h100-80g (`memplan show gpus` lists them), --gpu-memory 24GiB, or "
                "--cluster 8xdgx-h100");
  }

  // gpus = dp·tp·pp·cp: from three of them the fourth.
  void fill_gpus() {
    Job& job = built.job;
    Strategy& s = job.strategy;
    Cluster& c = job.cluster;
    const int64_t replica = product({s.tp, s.pp, s.cp});
    if (c.gpus == 0) {
      c.gpus = checked_mul(s.dp, replica);
      from("gpus", "dp · tp · pp · cp");
      if (c.gpus == 1) assume("1 GPU");
    } else if (find("--dp")) {
      if (checked_mul(s.dp, replica) != c.gpus)
        throw Error(ErrorKind::bad_input, "--dp",
                    fmt::format("dp {} × tp {} × pp {} × cp {} are {} GPUs, not {}", s.dp, s.tp,
                                s.pp, s.cp, checked_mul(s.dp, replica), c.gpus),
                    c.gpus % replica == 0 ? fmt::format("nearest: --dp {}", c.gpus / replica)
                                          : "leave --gpus away, or change one of them");
    } else {
      if (c.gpus % replica != 0)
        throw Error(ErrorKind::bad_input, "--gpus",
                    fmt::format("{} GPUs cannot be cut into replicas of tp {} × pp {} × cp {} = {}",
                                c.gpus, s.tp, s.pp, s.cp, replica),
                    fmt::format("nearest: --gpus {}",
                                checked_mul(replica, std::max<int64_t>(1, c.gpus / replica))));
      s.dp = c.gpus / replica;
      from("dp", "gpus / (tp · pp · cp)");
    }
    if (c.gpus_per_node == 0) {
      c.gpus_per_node = usual_gpus_per_node(c.gpus);
      from("gpus_per_node", "default: up to 8");
      if (c.gpus > c.gpus_per_node) assume(fmt::format("{} GPUs a node", c.gpus_per_node));
    }
  }

  void fill_sequence() {
    Job& job = built.job;
    if (find("--seq")) return;
    if (job.model.bare_parameters) {
      job.strategy.sequence = kBareSequence;
      return;
    }
    const int64_t most = job.model.max_positions;
    const bool own = most > 0 && most <= kUsualSequence;
    job.strategy.sequence = own ? most : kUsualSequence;
    from("seq", own ? "the model's longest" : fmt::format("default: {}", kUsualSequence));
    assume(fmt::format("sequence {}{}", job.strategy.sequence, own ? ", the model's longest" : ""));
  }

  void fill_batch() {
    Strategy& s = built.job.strategy;
    const bool bare = built.job.model.bare_parameters.has_value();
    if (!find("--micro-batch") && !bare) assume("micro-batch 1");
    if (const Given* steps = find("--accumulation")) {
      if (find("--global-batch"))
        throw Error(ErrorKind::bad_input, steps->where, "stands beside --global-batch",
                    "give one of the two");
      s.global_batch = product({s.micro_batch, s.dp, parse_count(steps->text, steps->where)});
      from("global_batch", "micro-batch · dp · accumulation");
    }
    if (find("--global-batch") || find("--accumulation")) return;
    s.global_batch = s.usual_global_batch();
    from("global_batch", s.pp > 1 ? "micro-batch · dp · pp" : "micro-batch · dp");
    if (s.pp > 1 && !bare)
      assume(fmt::format("global batch {}: {} micro-batches, one for each stage", s.global_batch,
                         s.pp));
  }

  void fill_peft() {
    PeftSpec& peft = built.job.strategy.peft;
    if (built.job.model.bare_parameters) return;
    const Given* setting = find("--peft");
    if (!fill_default_targets(peft, built.job.model.family, setting ? setting->where : "--peft"))
      return;
    std::string list;
    for (const std::string& target : peft.targets) list += (list.empty() ? "" : ", ") + target;
    const std::string name = peft.kind == PeftKind::lora ? "LoRA beside" : "PEFT on";
    assume(name + " " + list + ", as " +
           (peft.kind == PeftKind::bridge_lora ? "Megatron-Bridge does"
                                               : "peft chooses for this family"));
  }

  // What a named preset brings along.
  void note_presets() {
    const Job& job = built.job;
    if (!find("--gpu-memory")) from("gpu_memory", "preset " + job.cluster.gpu.name);
    for (const char* key : {"weight_dtype", "grad_dtype", "optimizer_dtype"})
      if (!find(option_of(key))) from(key, "precision " + job.strategy.precision.name);
  }

  std::optional<MegatronJob> megatron_;
};

// A file that says both dp and how many GPUs, as reports do, says dp twice: where the command line
// changes what they divide into, dp follows.
bool dp_follows(const std::vector<Given>& over, const std::vector<Given>& under) {
  const auto any = [](const std::vector<Given>& given, std::initializer_list<const char*> options) {
    return std::ranges::any_of(given, [&](const Given& g) {
      return std::ranges::find(options, g.option) != options.end();
    });
  };
  if (any(over, {"--gpus", "--cluster"})) return true;
  return any(under, {"--gpus", "--cluster"}) && any(over, {"--tp", "--pp", "--cp"});
}

}  // namespace

std::vector<Given> merge(std::vector<Given> over, const std::vector<Given>& under) {
  const bool drop_dp = dp_follows(over, under);
  const size_t own = over.size();
  for (const Given& setting : under) {
    const bool hidden = std::any_of(
        over.begin(), over.begin() + static_cast<std::ptrdiff_t>(own), [&](const Given& g) {
          const auto replaced = replaced_by(g.option);
          return g.option == setting.option ||
                 std::ranges::find(replaced, setting.option) != replaced.end();
        });
    if (!hidden && !(drop_dp && setting.option == "--dp")) over.push_back(setting);
  }
  return over;
}

BuiltJob build_job(const ModelSpec& model, std::string_view model_from,
                   const std::vector<Given>& given) {
  return Builder(model, model_from, given).build();
}

BuiltJob build_job(const MegatronLaunch& launch, const std::vector<Given>& given) {
  return Builder(launch, given).build();
}

}  // namespace memplan
