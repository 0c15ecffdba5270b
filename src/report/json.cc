// The report that scripts read. Keys are a contract: add, never rename.
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "report/memory_table.h"
#include "report/report.h"
#include "report/request.h"

namespace memplan {
namespace {

using Json = nlohmann::ordered_json;

Json optional(const auto& value) { return value ? Json(*value) : Json(nullptr); }

Json to_json(const SettingValue& value) {
  return std::visit(
      [](const auto& v) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::monostate>)
          return nullptr;
        else
          return v;
      },
      value);
}

// As adapter_config.json would have it: a flag, a word or a number.
Json setting_value(const PeftSetting& row, int64_t number) {
  if (row.words.empty()) return number;
  if (row.words == "no|yes") return number != 0;
  return split(row.words, '|').at(static_cast<size_t>(number));
}

// What differs from the method's defaults, and what every method has.
Json to_json(const PeftSpec& peft) {
  if (peft.kind == PeftKind::none) return nullptr;
  Json ranks = Json::object();
  for (const auto& [ending, rank] : peft.rank_pattern) ranks[ending] = rank;
  Json settings = Json::object();
  for (const PeftSetting& row : peft_settings())
    if (row.kind == peft.kind && peft.number(row.number) != row.fallback)
      settings[std::string(row.key)] = setting_value(row, peft.number(row.number));
  Json out = {{"kind", to_string(peft.kind)},
              {"version", version_text(peft.version)},
              {"rank", peft.rank},
              {"alpha", peft.alpha},
              {"dropout", peft.dropout},
              {"merged", peft.merged},
              {"targets", peft.targets},
              {"excluded", peft.excluded},
              {"feedforward", peft.feedforward},
              {"layers", peft.layers},
              {"layer_pattern", peft.layer_pattern},
              {"rank_pattern", ranks},
              {"modules_to_save", peft.modules_to_save},
              {"bias", kPeftBiasNames[static_cast<size_t>(peft.bias)]},
              {"fraction", peft.fraction},
              {"settings", settings},
              {"bottleneck", peft.bottleneck},
              {"dropped_layers", peft.dropped_layers}};
  const BlockDiagonal& blocks = peft.block_diagonal;
  if (blocks.blocks > 0)
    out["block_diagonal"] = {{"blocks", blocks.blocks}, {"a", blocks.a}, {"b", blocks.b}};
  return out;
}

Json request(const Job& job) {
  Json out = {{"model", job.model.name}};
  for (const Setting& setting : settings_of(job)) out[setting.key] = to_json(setting.value);
  out["peft"] = to_json(job.strategy.peft);
  out["profile"] = nullptr;
  if (const auto& words = job.strategy.megatron.arguments; !words.empty())
    out["megatron_arguments"] = words;
  return out;
}

// The worst rank by its own number, as in ranks[].rank.
Json to_json(const Verdict& v, const std::vector<RankPlan>& ranks) {
  return {{"fits", optional(v.fits)},
          {"capacity_bytes", v.capacity.count()},
          {"device_bytes",
           {{"low", v.low.count()}, {"expected", v.expected.count()}, {"high", v.high.count()}}},
          {"headroom_bytes", v.headroom().count()},
          {"worst_rank", ranks.at(static_cast<size_t>(v.worst_rank)).rank},
          {"risk", to_string(v.risk)},
          {"reason", v.reason}};
}

Json to_json(const RankMemory& m) {
  Json out = Json::object();
  for (const MemoryLine& line : memory_lines()) out[line.key] = (m.*line.bytes).count();
  return out;
}

Json to_json(const std::vector<LedgerLine>& lines) {
  Json out = Json::array();
  for (const LedgerLine& line : lines) {
    Json row = {
        {"holder", to_string(line.holder)}, {"label", line.label}, {"bytes", line.bytes.count()}};
    if (!line.formula.empty()) row["formula"] = line.formula;
    if (!line.source.empty()) row["source"] = line.source;
    out.push_back(std::move(row));
  }
  return out;
}

Json to_json(const RankPlan& rank) {
  Json phases = Json::array();
  for (const PhasePeak& phase : rank.phases)
    phases.push_back({{"phase", phase.phase},
                      {"allocated", phase.allocated.count()},
                      {"reserved", phase.reserved.count()},
                      {"device", phase.device.count()},
                      {"operator", phase.at}});
  return {{"rank", rank.rank},
          {"pipeline_stage", rank.pipeline_stage},
          {"count", rank.count},
          {"role", rank.role},
          {"memory", to_json(rank.memory)},
          {"peak", {{"phase", rank.peak_phase}, {"operator", rank.peak_operator}}},
          {"phases", std::move(phases)},
          {"host",
           {{"pinned", rank.host.pinned.count()},
            {"pageable", rank.host.pageable.count()},
            {"nvme", rank.host.nvme.count()}}},
          {"states",
           {{"parameters", rank.states.parameters},
            {"trainable", rank.states.trainable},
            {"weights", rank.states.weights.count()},
            {"gradients", rank.states.gradients.count()},
            {"optimizer", rank.states.optimizer.count()}}},
          {"lines", to_json(rank.lines)},
          {"outside", to_json(rank.outside)},
          {"largest", to_json(rank.largest)}};
}

Json to_json(const Traffic& row) {
  return {{"group", row.group},
          {"collective", row.collective},
          {"algorithm", row.algorithm},
          {"phase", row.phase},
          {"count", row.count},
          {"bytes", row.bytes.count()},
          {"bytes_sent_per_gpu", row.bytes_sent_per_gpu.count()},
          {"what", row.what},
          {"ranks", row.ranks},
          {"crosses_nodes", row.crosses_nodes}};
}

// Step time is not modelled: its fields are there and null.
Json to_json(const StepCost& step) {
  return {{"seconds", nullptr},
          {"compute_seconds", nullptr},
          {"exposed_communication_seconds", nullptr},
          {"bubble_fraction", step.bubble_fraction},
          {"flops", step.flops},
          {"hardware_flops", step.hardware_flops},
          {"mfu", nullptr}};
}

Json to_json(const Suggestion& suggestion) {
  return {{"change", suggestion.change},
          {"device_bytes", suggestion.device.count()},
          {"step_seconds", nullptr},
          {"why", suggestion.why}};
}

Json to_json(const ProcessGroup& group) {
  return {{"group", group.name},
          {"ranks", group.ranks},
          {"axes", group.axes},
          {"members", group.members},
          {"crosses_nodes", group.crosses_nodes}};
}

Json to_json(const ShardingRule& rule) {
  return {{"tensor", rule.tensor}, {"times", rule.times}, {"shape", rule.shape},
          {"local", rule.local},   {"rule", rule.rule},   {"group", rule.group}};
}

template <typename Item>
Json list(const std::vector<Item>& items) {
  Json out = Json::array();
  for (const Item& item : items) out.push_back(to_json(item));
  return out;
}

Json head() { return {{"schema_version", kSchemaVersion}, {"memplan_version", MEMPLAN_VERSION}}; }

Json to_json(const Plan& plan) {
  Json out = head();
  out["request"] = request(plan.job);
  out["verdict"] = to_json(plan.verdict, plan.ranks);
  out["parameters"] = plan.parameters;
  out["trainable"] = plan.trainable;
  out["ranks"] = list(plan.ranks);
  out["communication"] = list(plan.communication);
  if (plan.job.explain) {
    out["process_groups"] = list(plan.groups);
    out["sharding"] = list(plan.sharding);
  }
  out["step"] = to_json(plan.step);
  out["limits"] = {{"micro_batch", optional(plan.limits.micro_batch)},
                   {"sequence", optional(plan.limits.sequence)},
                   {"gpus", optional(plan.limits.gpus)},
                   {"expert_imbalance", optional(plan.limits.expert_imbalance)}};
  out["assumptions"] = plan.assumptions;
  out["not_modelled"] = plan.not_modelled;
  out["warnings"] = plan.warnings;
  out["suggestions"] = list(plan.suggestions);
  return out;
}

Json to_json(const Answer& answer, const std::vector<std::string>& varied) {
  Json out = answer.plan ? to_json(*answer.plan) : head();
  if (!answer.plan) out["error"] = {{"message", answer.refused}, {"exit_code", answer.exit_code}};
  if (!varied.empty()) {
    Json& values = out["varied"] = Json::object();
    for (size_t i = 0; i < varied.size(); ++i) values[varied[i]] = answer.values[i];
  }
  if (answer.plan && answer.plan->job.explain) {
    Json& origins = out["origins"] = Json::object();
    for (const Origin& origin : answer.origins) origins[origin.key] = origin.from;
  }
  return out;
}

}  // namespace

std::string render_json(const Report& report) {
  Json out;
  if (report.varied.empty()) {
    out = to_json(report.answers.front(), {});
  } else {
    out = head();
    Json& reports = out["reports"] = Json::array();
    for (const Answer& answer : report.answers) reports.push_back(to_json(answer, report.varied));
  }
  // Paths need not be UTF-8; JSON must be.
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace memplan
