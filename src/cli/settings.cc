#include "cli/settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>
#include <vector>

#include "base/text.h"
#include "cli/framework_settings.h"
#include "cli/setting_values.h"
#include "input/peft_config.h"
#include "memplan/error.h"
#include "policy/fsdp.h"

namespace memplan {
namespace {

using enum SettingGroup;
using namespace setting;

void cluster(Job& job, std::string_view text, std::string_view where) {
  job.cluster = parse_cluster(text, where);
}
void gpu(Job& job, std::string_view text, std::string_view where) {
  job.cluster.gpu = find_gpu(text, where);
}
void gpu_memory(Job& job, std::string_view text, std::string_view where) {
  const Bytes memory = parse_bytes(text, where);
  if (memory < kMiB)
    bad(where, quoted(text) + " is no memory of a GPU", "give a size with its unit, such as 24GiB");
  if (job.cluster.gpu.name.empty())
    job.cluster.gpu = custom_gpu(memory);
  else
    job.cluster.gpu.memory = memory;
}
void gpus(Job& job, std::string_view text, std::string_view where) {
  job.cluster.gpus = parse_count(text, where);
}
void gpus_per_node(Job& job, std::string_view text, std::string_view where) {
  job.cluster.gpus_per_node = parse_count(text, where);
}
void network(Job& job, std::string_view text, std::string_view where) {
  if (text.ends_with("/s")) text.remove_suffix(2);
  job.cluster.network_bandwidth = static_cast<double>(parse_bytes(text, where).count());
}
void host_memory(Job& job, std::string_view text, std::string_view where) {
  job.cluster.host_memory = parse_bytes(text, where);
}
void zero(Job& job, std::string_view text, std::string_view where) {
  const int64_t stage = parse_count(text, where, 0);
  if (stage > 3) bad(where, quoted(text) + " is no ZeRO stage", "stages are 0, 1, 2 and 3");
  job.strategy.zero = static_cast<int>(stage);
}
void forward_only(Job& job, std::string_view text, std::string_view where) {
  job.strategy.training = !parse_flag(text, where);
}

// The master copy exists where weights are stored in fewer bits than it has.
void drop_needless_master(Precision& precision) {
  if (precision.master && size_of(precision.weight) >= size_of(*precision.master))
    precision.master.reset();
}
void precision(Job& job, std::string_view text, std::string_view where) {
  job.strategy.precision = parse_precision(text, where);
}
void weight_dtype(Job& job, std::string_view text, std::string_view where) {
  job.strategy.precision.weight = parse_dtype(text, where);
  drop_needless_master(job.strategy.precision);
}
void grad_dtype(Job& job, std::string_view text, std::string_view where) {
  job.strategy.precision.gradient = parse_dtype(text, where);
}
void optimizer_dtype(Job& job, std::string_view text, std::string_view where) {
  job.strategy.precision.optimizer = parse_dtype(text, where);
}
void offload(Job& job, std::string_view text, std::string_view where) {
  const bool sharded = fsdp::shards_parameters(job.strategy);
  job.strategy.offload = parse_offload(text, where, sharded ? 3 : job.strategy.zero);
}
void peft(Job& job, std::string_view text, std::string_view where) {
  job.strategy.peft = parse_peft(text, where);
}
void train(Job& job, std::string_view text, std::string_view where) {
  Trainable& trainable = job.strategy.trainable;
  if (text == "all") {
    trainable = {};
  } else if (text == "bias") {
    trainable = {Trainable::Kind::bias, 0};
  } else if (text.starts_with("last:")) {
    trainable = {Trainable::Kind::last_layers, parse_count(text.substr(5), where)};
  } else {
    bad(where, quoted(text) + " is not a set of parameters",
        "write all, last:2 for the last two layers, or bias");
  }
}
void algorithm(Job& job, std::string_view text, std::string_view where) {
  if (text != "ring" && text != "tree")
    bad(where, quoted(text) + " is not an all-reduce algorithm", "valid: ring, tree");
  job.strategy.tree_collectives = text == "tree";
}

void expert_imbalance(Job& job, std::string_view text, std::string_view where) {
  double value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc() || end != text.data() + text.size())
    bad(where, quoted(text) + " is no number", "1.5 is half more than the mean");
  job.strategy.expert_imbalance = value;
}

// Counts once the replicas are known.
void accumulation(Job&, std::string_view text, std::string_view where) { parse_count(text, where); }

constexpr auto kGeneral = std::to_array<SettingRow>({
    {"--cluster", "8xNODE", "nodes of a kind: 8xdgx-h100, or 64xh100-80g", hardware, true, cluster},
    {"--gpu", "NAME", "kind of GPU: `memplan show gpus` lists them", hardware, true, gpu},
    {"--gpu-memory", "SIZE", "memory of the GPU, for one that is not listed: 24GiB", hardware, true,
     gpu_memory},
    {"--gpus", "N", "GPUs of the job (dp · tp · pp · cp)", hardware, true, gpus},
    {"--gpus-per-node", "N", "GPUs of one machine (8)", hardware, true, gpus_per_node},
    {"--network", "SIZE", "bytes a second of a node's network, one direction: 400GB", hardware,
     true, network},
    {"--host-memory", "SIZE", "memory of one machine, for offload", hardware, true, host_memory},

    {"--dp", "N", "data-parallel replicas (GPUs / (tp · pp · cp))", parallel, true,
     count<&Strategy::dp>},
    {"--tp", "N", "tensor parallelism (1)", parallel, true, count<&Strategy::tp>},
    {"--pp", "N", "pipeline stages (1)", parallel, true, count<&Strategy::pp>},
    {"--vpp", "N", "virtual stages of a pipeline rank: interleaved schedule (1)", parallel, true,
     count<&Strategy::vpp>},
    {"--cp", "N", "context parallelism: the sequence is cut (1)", parallel, true,
     count<&Strategy::cp>},
    {"--ep", "N", "expert parallelism, inside dp · cp (1)", parallel, true, count<&Strategy::ep>},
    {"--expert-imbalance", "F", "rows of the busiest ep rank over the mean of all (1)", parallel,
     true, expert_imbalance},
    {"--zero", "STAGE", "0 to 3: divide optimizer states, gradients, weights over dp (0)", parallel,
     true, zero},
    {"--data-parallel", "NAME", "ddp, or data-parallel for torch.nn.DataParallel (ddp)", parallel,
     true, choice<DataParallelKind, &Strategy::data_parallel>},
    {"--sequence-parallel", "", "divide what tp repeats over the sequence", parallel, false,
     flag<&Strategy::sequence_parallel>},
    {"--schedule", "NAME", "naive, gpipe, 1f1b, pipedream (1f1b)", parallel, true,
     choice<ScheduleKind, &Strategy::schedule>},
    {"--algorithm", "NAME", "all-reduce by ring or tree (ring)", parallel, true, algorithm},

    {"--micro-batch", "N", "samples of one forward on one replica (1)", batch, true,
     count<&Strategy::micro_batch>},
    {"--global-batch", "N", "samples of one optimizer step (micro-batch · dp · pp)", batch, true,
     count<&Strategy::global_batch>},
    {"--accumulation", "N", "micro-batches of one optimizer step, in place of --global-batch",
     batch, true, accumulation},
    {"--seq", "N", "tokens of a sample (the model's own, up to 4096)", batch, true,
     count<&Strategy::sequence>},

    {"--precision", "NAME",
     "fp32, bf16, fp16, mixed-bf16, mixed-fp16, amp-bf16, amp-fp16 (mixed-bf16)", memory, true,
     precision},
    {"--weight-dtype", "DTYPE", "refines --precision: fp32, bf16, fp16", memory, true,
     weight_dtype},
    {"--grad-dtype", "DTYPE", "the same for gradients", memory, true, grad_dtype},
    {"--optimizer-dtype", "DTYPE", "the same for the optimizer's moments", memory, true,
     optimizer_dtype},
    {"--recompute", "NAME", "none, selective, full (none)", memory, true,
     choice<Recompute, &Strategy::recompute>},
    {"--offload", "WHAT", "optimizer, cpu, nvme, or optimizer=cpu,gradients=cpu,parameters=nvme",
     memory, false, offload},

    {"--optimizer", "NAME", "adamw, sgd, lion, adam8bit, …: `memplan show optimizers` (adamw)",
     training, true, choice<OptimizerKind, &Strategy::optimizer>},
    {"--peft", "KIND", "lora:r=8,targets=q_proj+v_proj, houlsby:m=64, pfeiffer, …, or FILE",
     training, false, peft},
    {"--train", "WHAT", "all, last:K layers, or bias (all)", training, true, train},
    {"--forward-only", "", "no backward, no optimizer", training, false, forward_only},

    {"--framework", "NAME",
     "whose memory: textbook, pytorch, huggingface, litgpt, torchtune, torchtitan, fsdp1, fsdp2, "
     "deepspeed, megatron "
     "(textbook)",
     model, true, choice<Framework, &Strategy::framework>},
    {"--attention", "NAME", "unfused, flash, sdpa (unfused)", model, true,
     choice<AttentionKind, &Strategy::attention>},
    {"--activations", "NAME", "what a layer keeps: korthikanti, zero (korthikanti)", model, true,
     choice<ActivationModel, &Strategy::activations>},
});

// {what stands on the command line, what it replaces in a file}.
constexpr std::array<std::pair<std::string_view, std::string_view>, 16> kReplaces{{
    {"--cluster", "--gpu"},
    {"--cluster", "--gpu-memory"},
    {"--cluster", "--gpus"},
    {"--cluster", "--gpus-per-node"},
    {"--cluster", "--network"},
    {"--cluster", "--host-memory"},
    {"--gpu", "--gpu-memory"},
    {"--gpu", "--cluster"},
    {"--gpu-memory", "--gpu"},
    {"--gpus", "--cluster"},
    {"--dp", "--gpus"},
    {"--global-batch", "--accumulation"},
    {"--accumulation", "--global-batch"},
    {"--precision", "--weight-dtype"},
    {"--precision", "--grad-dtype"},
    {"--precision", "--optimizer-dtype"},
}};

}  // namespace

std::span<const SettingRow> setting_rows() {
  static const std::vector<SettingRow> rows = [] {
    std::vector<SettingRow> all(kGeneral.begin(), kGeneral.end());
    const auto own = framework_setting_rows();
    all.insert(all.end(), own.begin(), own.end());
    return all;
  }();
  return rows;
}

const SettingRow* find_setting(std::string_view option) {
  const auto rows = setting_rows();
  const auto row = std::ranges::find(rows, option, &SettingRow::option);
  return row == rows.end() ? nullptr : &*row;
}

std::string key_of(std::string_view option) {
  std::string key(option.substr(2));
  std::ranges::replace(key, '-', '_');
  return key;
}

std::string option_of(std::string_view key) {
  std::string option = "--" + std::string(key);
  std::replace(option.begin() + 2, option.end(), '_', '-');
  return option;
}

std::vector<std::string_view> replaced_by(std::string_view option) {
  std::vector<std::string_view> out;
  for (const auto& [over, under] : kReplaces)
    if (over == option) out.push_back(under);
  return out;
}

int64_t parse_count(std::string_view text, std::string_view where, int64_t least) {
  const std::string hint =
      least == 0 ? "give a whole number from 0 up" : "give a whole number of at least 1";
  int64_t value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = end == text.data() + text.size() && end != text.data();
  const bool digits = std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  if (status == std::errc::result_out_of_range || (whole && digits && value > kMaxCount))
    bad(where, std::string(text) + " is too large", "at most " + format_count(kMaxCount));
  if (status != std::errc() || !whole)
    bad(where, text.empty() ? "the value is empty" : quoted(text) + " is not a whole number", hint);
  if (value < least) bad(where, std::string(text) + " is too small", hint);
  return value;
}

Offload parse_offload(std::string_view text, std::string_view where, int zero) {
  constexpr std::string_view kForms =
      "write optimizer, cpu, nvme, or optimizer=cpu,gradients=cpu,parameters=nvme";
  Offload out;
  if (text == "none" || text == "gpu") return out;
  if (text == "optimizer") text = "optimizer=cpu";
  if (text == "cpu" || text == "nvme") {
    out.optimizer = out.gradients = parse_name<Placement>(text, where);
    if (zero == 3) out.parameters = out.optimizer;
    return out;
  }
  std::vector<std::string_view> seen;
  for (const std::string_view part : split(text, ',')) {
    const size_t equals = part.find('=');
    if (equals == part.npos) bad(where, quoted(part) + " is no part=place", std::string(kForms));
    const std::string_view what = part.substr(0, equals);
    Placement* place = what == "optimizer"    ? &out.optimizer
                       : what == "gradients"  ? &out.gradients
                       : what == "parameters" ? &out.parameters
                                              : nullptr;
    if (place == nullptr)
      bad(where, "nothing is called " + quoted(what),
          name_hint(what, {"optimizer", "gradients", "parameters"}));
    if (std::ranges::find(seen, what) != seen.end())
      bad(where, quoted(what) + " is given twice", "give it once");
    seen.push_back(what);
    *place = parse_name<Placement>(part.substr(equals + 1), where);
  }
  return out;
}

}  // namespace memplan
