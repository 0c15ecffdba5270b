// memplan show: the presets, and the names that options take.
#include <algorithm>
#include <array>

#include "base/embedded.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "input/model_source.h"
#include "lower/families.h"
#include "lower/inventory.h"
#include "memplan/error.h"
#include "memplan/job.h"
#include "policy/pytorch.h"
#include "report/records.h"
#include "report/table.h"

namespace memplan {
namespace {

using Records = std::vector<Record>;

std::string joined(const std::vector<std::string>& items) {
  std::string out;
  for (const std::string& item : items) out += (out.empty() ? "" : "; ") + item;
  return out;
}

// 0 stands for "none" or "not known".
decltype(Field::value) optional(int64_t value) {
  if (value == 0) return {};
  return value;
}

Record model_record(const ModelSpec& m, std::string name) {
  return {{"name", std::move(name)},
          {"family", m.family},
          {"parameters", count_parameters(m), Unit::parameters},
          {"layers", m.layers},
          {"decoder_layers", optional(m.decoder_layers), Unit::none, false},
          {"hidden", m.hidden},
          {"heads", m.heads},
          {"kv_heads", m.kv_heads, Unit::none, false},
          {"head_dim", m.head_dim, Unit::none, false},
          {"ffn", m.ffn, Unit::none, false},
          {"vocab", m.vocab},
          {"positions", optional(m.max_positions)},
          {"experts", optional(m.moe.experts)},
          {"experts_per_token", optional(m.moe.experts_per_token), Unit::none, false},
          {"expert_ffn", optional(m.moe.expert_ffn), Unit::none, false},
          {"sliding_window", optional(m.sliding_window), Unit::none, false},
          {"kv_lora_rank", optional(m.mla.kv_lora_rank), Unit::none, false},
          {"activation", m.activation, Unit::none, false},
          {"gated_mlp", m.gated_mlp, Unit::none, false},
          {"tie_embeddings", m.tie_embeddings, Unit::none, false},
          {"not_modelled", joined(m.not_modelled), Unit::none, false},
          {"source", m.source, Unit::none, false}};
}

Records models() {
  Records out;
  for (const EmbeddedFile& preset : embedded_models()) {
    const std::string name(preset.name);
    out.push_back(model_record(read_model(name), name));
  }
  return out;
}

Records gpus() {
  Records out;
  for (const GpuSpec& g : gpu_presets()) {
    const std::string capability =
        g.cuda ? std::to_string(g.compute_major) + "." + std::to_string(g.compute_minor) : "-";
    out.push_back({{"name", g.name},
                   {"memory", g.memory.count(), Unit::bytes},
                   {"memory_bandwidth", g.memory_bandwidth, Unit::rate},
                   {"bf16", g.flops_bf16, Unit::flops},
                   {"nvlink", g.nvlink_bandwidth, Unit::rate},
                   {"fp32", g.flops_fp32, Unit::flops, false},
                   {"tf32", g.flops_tf32, Unit::flops, false},
                   {"fp16", g.flops_fp16, Unit::flops, false},
                   {"fp8", g.flops_fp8, Unit::flops, false},
                   {"pcie", g.pcie_bandwidth, Unit::rate, false},
                   {"compute_capability", capability, Unit::none, false},
                   {"description", g.description},
                   {"source", g.source, Unit::none, false}});
  }
  return out;
}

Records nodes() {
  Records out;
  for (const NodeSpec& n : node_presets())
    out.push_back({{"name", n.name},
                   {"gpu", n.gpu},
                   {"gpus", int64_t{n.gpus}},
                   {"network", n.network_bandwidth, Unit::rate},
                   {"host_memory", optional(n.host_memory.count()), Unit::bytes},
                   {"nvme", optional(n.nvme.count()), Unit::bytes},
                   {"source", n.source, Unit::none, false}});
  return out;
}

template <typename Enum>
Records names() {
  Records out;
  for (const auto& row : names_of<Enum>())
    out.push_back({{"name", std::string(row.name)}, {"meaning", std::string(row.meaning)}});
  return out;
}

Records frameworks() {
  Records out;
  for (const auto& row : names_of<Framework>())
    out.push_back({{"name", std::string(row.name)},
                   {"available", row.value == Framework::textbook || pytorch::is_eager(row.value)},
                   {"meaning", std::string(row.meaning)}});
  return out;
}

Records precision_records() {
  Records out;
  for (const auto& row : precisions()) {
    const Precision& p = row.value;
    const auto name = [](DType dtype) { return std::string(to_string(dtype)); };
    out.push_back({{"name", p.name},
                   {"weights", name(p.weight)},
                   {"gradients", name(p.gradient)},
                   {"moments", name(p.optimizer)},
                   {"master_copy", p.master ? name(*p.master) : "-"},
                   {"activations", name(p.activation)},
                   {"meaning", std::string(row.meaning)}});
  }
  return out;
}

Records families() {
  Records out;
  for (std::string_view name : family_names()) out.push_back({{"name", std::string(name)}});
  return out;
}

struct Topic {
  std::string_view name, summary;
  Records (*records)();
};
constexpr std::array<Topic, 15> kTopics{{
    {"models", "presets for MODEL", models},
    {"gpus", "presets for --gpu", gpus},
    {"nodes", "presets for --cluster", nodes},
    {"frameworks", "--framework", frameworks},
    {"optimizers", "--optimizer", names<OptimizerKind>},
    {"schedules", "--schedule", names<ScheduleKind>},
    {"precisions", "--precision", precision_records},
    {"recompute", "--recompute", names<Recompute>},
    {"attention", "--attention", names<AttentionKind>},
    {"activations", "--activations", names<ActivationModel>},
    {"losses", "--loss", names<LossKind>},
    {"peft", "--peft", names<PeftKind>},
    {"offload", "places for --offload", names<Placement>},
    {"data-parallel", "--data-parallel", names<DataParallelKind>},
    {"families", "model_type of the config.json files that are understood", families},
}};

std::string help() {
  Table table({Align::left, Align::left});
  for (const Topic& topic : kTopics)
    table.add({{std::string(topic.name)}, {std::string(topic.summary)}});
  table.add({{"zero3"}, {"ZeRO-3 on a stack of layers, step by step: has options of its own"}});
  return "usage: memplan show WHAT [NAME] [options]\n\nWHAT is one of\n" + table.render(2, false) +
         '\n' + options_help("Options", common_options());
}

const Topic& find_topic(const std::string& word) {
  std::vector<std::string_view> names;
  for (const Topic& topic : kTopics) {
    if (topic.name == word || topic.name == word + "s") return topic;
    names.push_back(topic.name);
  }
  names.push_back("zero3");
  throw Error(ErrorKind::bad_input, "show",
              "'" + printable(word) + "' is nothing that can be shown", name_hint(word, names));
}

// A model may also be a file, a GPU may be spelled in several ways.
Record find_record(const Topic& topic, const std::string& name) {
  if (topic.name == "models") {
    const ModelSpec model = read_model(name);
    if (model.bare_parameters)
      throw Error(ErrorKind::bad_input, "show models", "'" + name + "' is a bare size",
                  "nothing else is known of it");
    return model_record(model, model.name);
  }
  const std::string wanted = topic.name == "gpus" ? find_gpu(name, "show gpus").name : name;
  const Records records = topic.records();
  std::vector<std::string_view> names;
  for (const Record& record : records) {
    const std::string& own = std::get<std::string>(record.front().value);
    if (own == wanted) return record;
    names.push_back(own);
  }
  throw Error(ErrorKind::bad_input, "show " + std::string(topic.name),
              "'" + printable(name) + "' is not one of them", name_hint(name, names));
}

}  // namespace

int run_show(const Words& words) {
  if (!words.empty() && words.front() == "zero3")
    return run_show_zero3({words.begin() + 1, words.end()});
  const Options options = parse_options(words, common_options(), 2);
  const TextStyle style = text_style(options);
  if (options.help || options.positional.empty()) {
    write_result(options.help ? Options{} : options, help());
    return 0;
  }
  const Topic& topic = find_topic(options.positional[0]);
  const bool json = options.has("--json");
  if (options.positional.size() > 1) {
    const Record record = find_record(topic, options.positional[1]);
    write_result(options, json ? render_record_json(record) : render_record(record, style));
  } else {
    const Records records = topic.records();
    write_result(options, json ? render_records_json(records) : render_records(records, style));
  }
  return 0;
}

}  // namespace memplan
