#include "lower/program.h"

#include <algorithm>
#include <optional>

#include "lower/families.h"
#include "lower/megatron/layout.h"
#include "lower/megatron/mtp_block.h"
#include "lower/prompts.h"
#include "memplan/error.h"
#include "ops/embedding.h"
#include "ops/peft.h"
#include "policy/textbook.h"
#include "schedule/schedules.h"

namespace memplan {
namespace {

// All that two layers must share to be lowered once.
struct LayerKey {
  LayerKind kind;
  bool trainable = true, adapters = true, input_requires_grad = true;
  friend bool operator==(const LayerKey&, const LayerKey&) = default;
};

std::string layer_label(const LayerKind& kind) {
  switch (kind.form) {
    case LayerForm::ssm:
      return "Mamba layer";
    case LayerForm::attention:
      return "attention layer";
    case LayerForm::mlp:
      return kind.moe ? "MoE layer" : "MLP layer";
    case LayerForm::whole:
      break;
  }
  return kind.moe ? "MoE layer" : "layer";
}

struct Lowered {
  Run run;
  bool output_requires_grad = true;
};

class Lowering {
 public:
  Lowering(const Job& job, int64_t loss_batch)
      : job_(job), loss_batch_(loss_batch), targets_(job.strategy.peft) {}

  Program run() {
    const Strategy& s = job_.strategy;
    program_.stages.resize(static_cast<size_t>(s.pp));
    if (job_.model.bare_parameters) return std::move(program_);

    const std::vector<Lowered> layers = lower_layers();
    require_peft_modules();
    add_shared_parameters(layers);
    const bool split_by_bridge = job_.model.decoder_layers > 0;
    for (int64_t stage = 0; stage < s.pp; ++stage) {
      std::vector<Run>& runs = program_.stages[static_cast<size_t>(stage)].runs;
      if (stage == 0) append(runs, {embedding_, 0, 1});
      for (const LayerRange& range : stage_layers(job_, std::ssize(layers), stage)) {
        for (int64_t i = range.first; i < range.first + range.count; ++i) {
          if (split_by_bridge && i == job_.model.layers) append(runs, {bridge_, 0, 1});
          append(runs, layers[static_cast<size_t>(i)].run);
        }
      }
      const int64_t more = predicting_layers(stage);
      if (more > 0 && stage > 0) append(runs, {mtp_embedding_, 0, 1});
      if (more > 0) append(runs, {mtp_layer_, 0, more});
      if (stage == s.pp - 1) {
        append(runs, {head_, 0, 1});
        if (loss_) append(runs, {*loss_, 0, 1});
      }
    }
    return std::move(program_);
  }

 private:
  // Multi-token prediction's of Megatron-core.
  int64_t predicting_layers(int64_t stage) const {
    const Strategy& s = job_.strategy;
    if (s.framework != Framework::megatron || s.megatron.mtp_layers == 0) return 0;
    int64_t out = 0;
    for (const megatron::Chunk& chunk : megatron::stage_chunks(job_, stage)) out += chunk.mtp;
    return out;
  }

  void lower_predicting_layers() {
    if (predicting_layers(job_.strategy.pp - 1) == 0) return;
    Graph embedding(context());
    megatron::build_mtp_embedding(job_.model, embedding);
    mtp_embedding_ =
        push(BlockPart::mtp_embedding, "embedding of multi-token prediction", std::move(embedding));
    OpContext c = context();
    c.prefix = "mtp.layers.0.";
    Graph layer(c);
    megatron::build_mtp_layer(job_.model, layer);
    mtp_layer_ = push(BlockPart::mtp_layer, "multi-token prediction", std::move(layer));
  }

  OpContext context() const {
    const Strategy& s = job_.strategy;
    OpContext c;
    c.batch = s.micro_batch;
    c.sequence = s.sequence / s.cp;
    c.full_sequence = s.sequence;
    c.tp = s.tp;
    c.cp = s.cp;
    c.ep = s.ep;
    c.expert_imbalance = s.expert_imbalance;
    c.sequence_parallel = s.sequence_parallel;
    c.training = s.training;
    c.activation = s.precision.activation;
    c.weight = s.precision.weight;
    c.attention = s.attention;
    c.peft = &s.peft;
    c.targets = &targets_;
    c.trainable = s.trainable.kind;
    c.input_requires_grad = requires_grad_;
    // "The last k layers" freezes the embedding and all before them; the head is always trained.
    c.block_trainable = s.trainable.kind != Trainable::Kind::last_layers;
    c.tied_weight_trains = tied_weight_trains_;
    return c;
  }

  int32_t push(BlockPart part, std::string label, Graph graph) {
    requires_grad_ |= std::any_of(graph.params.begin(), graph.params.end(),
                                  [](const Param& p) { return p.trainable; });
    program_.blocks.push_back({part, std::move(label), std::move(graph)});
    return static_cast<int32_t>(program_.blocks.size() - 1);
  }

  // Walks the model in forward order: whether a block's input needs a gradient depends on all
  // blocks before it.
  std::vector<Lowered> lower_layers() {
    const Strategy& s = job_.strategy;
    requires_grad_ = false;
    Graph embedding(context());
    build_embedding(job_.model, embedding);
    tied_weight_trains_ =
        std::any_of(embedding.params.begin(), embedding.params.end(),
                    [&](const Param& p) { return p.shape[0] == job_.model.vocab && p.trainable; });
    embedding_ = push(BlockPart::embedding, "embedding", std::move(embedding));

    std::vector<Lowered> layers;
    std::vector<std::pair<LayerKey, Lowered>> known;
    const std::vector<Stack> all = stacks(job_.model);
    int64_t total = 0;
    for (const Stack& stack : all) total += std::ssize(stack.layers);
    int64_t index = 0;
    for (const Stack& stack : all) {
      if (&stack != &all.front()) {
        Graph bridge(context());
        build_bridge(job_.model, bridge);
        bridge_ = push(BlockPart::bridge, "encoder end and decoder embedding", std::move(bridge));
      }
      int64_t in_stack = 0;
      for (const LayerKind& kind : stack.layers) {
        LayerKey key{kind, true, true, requires_grad_};
        if (s.trainable.kind == Trainable::Kind::last_layers)
          key.trainable = index >= total - s.trainable.layers;
        key.adapters = adapted_layer(s.peft, index, total);
        const std::string prefix = stack.prefix + "." + std::to_string(in_stack++) + ".";
        auto row = find_lowered(known, key, prefix);
        if (row == known.end()) {
          known.emplace_back(key, lower_layer(key, prefix));
          row = std::prev(known.end());
        }
        requires_grad_ = row->second.output_requires_grad;
        layers.push_back(row->second);
        layers.back().run.first_layer = index++;
      }
    }

    lower_predicting_layers();
    OpContext top = context();
    top.block_trainable = true;
    Graph head(top);
    const bool tied_copy = s.pp > 1 && job_.model.tie_embeddings;
    const TensorId logits = build_head(job_.model, head, tied_copy);
    const bool vocabulary =
        logits != kNoTensor && job_.model.head != ModelHead::sequence_classification;
    const int64_t elements = vocabulary ? head.elements(logits) : 0;
    const bool logits_grad = vocabulary && head.grad(logits);
    head_ = push(BlockPart::head, "head", std::move(head));
    if (vocabulary && s.training) {
      OpContext last = top;
      last.input_requires_grad = logits_grad;
      last.batch = loss_batch_;
      Graph loss(last);
      const TensorId in =
          loss.input("logits", checked_mul(elements / s.micro_batch, loss_batch_), last.activation);
      cross_entropy(loss, in, job_.model.vocab);
      loss_ = push(BlockPart::loss, "loss", std::move(loss));
    }
    return layers;
  }

  // What all adapted modules share, and virtual tokens, stand before the model.
  void add_shared_parameters(const std::vector<Lowered>& layers) {
    std::vector<AdaptedModule> adapted;
    const auto add = [&](int32_t block) {
      for (const PeftModule& m : program_.blocks[static_cast<size_t>(block)].graph.adapted)
        adapted.push_back({&m, 1});
    };
    add(embedding_);
    for (const Lowered& layer : layers) add(layer.run.block);
    add(head_);
    Graph& first = program_.blocks[static_cast<size_t>(embedding_)].graph;
    add_shared_peft(first, adapted);
    add_prompt_encoder(job_.model, first);
  }

  // peft turns names of experts' parts into target_parameters, some families' all-linear too
  // (utils/transformers_weight_conversion.py, convert_peft_config_for_transformers).
  void refuse_expert_targets() const {
    if (job_.model.moe.experts == 0) return;
    const std::vector<std::string>& targets = job_.strategy.peft.targets;
    const auto named = [&](std::string_view part) {
      return std::find(targets.begin(), targets.end(), part) != targets.end();
    };
    constexpr std::string_view kParts[] = {"gate_proj", "up_proj", "down_proj", "w1",
                                           "w2",        "w3",      "gate",      "experts"};
    constexpr std::string_view kFused[] = {"mixtral", "qwen3_moe", "deepseek_v2", "deepseek_v3"};
    const bool all =
        job_.strategy.peft.kind == PeftKind::lora && named("all-linear") &&
        std::find(std::begin(kFused), std::end(kFused), job_.model.family) != std::end(kFused);
    if (!all && std::none_of(std::begin(kParts), std::end(kParts), named)) return;
    throw Error(ErrorKind::not_modelled, "--peft", "adapters on the experts are not modelled",
                "name projections of attention");
  }

  // LoRA on nothing is a slip of the pen: the answer would be for another job.
  void require_peft_modules() const {
    const PeftSpec& peft = job_.strategy.peft;
    if (!peft_method(peft.kind).targets || peft.merged) return;
    refuse_expert_targets();
    std::vector<std::string_view> modules;
    for (const Block& block : program_.blocks) {
      if (!block.graph.adapted.empty()) return;
      for (const Param& p : block.graph.params) {
        const std::string_view name = p.name;
        if (p.dims == 2 && name.ends_with(".weight"))
          modules.push_back(name.substr(0, name.size() - std::string_view(".weight").size()));
      }
    }
    for (std::string_view& module : modules)
      module = module.substr(module.rfind('.') == module.npos ? 0 : module.rfind('.') + 1);
    std::sort(modules.begin(), modules.end());
    modules.erase(std::unique(modules.begin(), modules.end()), modules.end());
    const std::string target = peft.targets.empty() ? std::string() : peft.targets.front();
    throw Error(ErrorKind::bad_input, "--peft",
                "no module of " + job_.model.name + " is called '" + target + "'",
                name_hint(target, modules));
  }

  using Known = std::vector<std::pair<LayerKey, Lowered>>;

  // A layer that is already lowered and equal in all, adapters included. Where targets tell layers
  // apart, what they adapt in this one decides.
  Known::iterator find_lowered(Known& known, const LayerKey& key, const std::string& prefix) {
    const auto equal_key = [&](const auto& pair) { return pair.first == key; };
    if (!targets_.by_layer()) return std::find_if(known.begin(), known.end(), equal_key);
    if (std::none_of(known.begin(), known.end(), equal_key)) return known.end();
    const bool before = requires_grad_;
    const Graph layer = build(key, prefix);
    requires_grad_ = before;
    return std::find_if(known.begin(), known.end(), [&](const auto& pair) {
      const Graph& other = program_.blocks[static_cast<size_t>(pair.second.run.block)].graph;
      return pair.first == key && other.params == layer.params && other.adapted == layer.adapted;
    });
  }

  Graph build(const LayerKey& key, const std::string& prefix) const {
    OpContext c = context();
    c.block_trainable = key.trainable;
    c.adapters_here = key.adapters;
    c.prefix = prefix;
    Graph layer(c);
    build_layer(job_.model, key.kind, layer);
    add_layer_prompts(job_.model, layer);
    return layer;
  }

  Lowered lower_layer(const LayerKey& key, const std::string& prefix) {
    Graph layer = build(key, prefix);
    textbook::apply_activation_model(job_.strategy, job_.model.hidden, layer);
    std::string label = layer_label(key.kind);
    if (job_.model.decoder_layers > 0) label = (key.kind.decoder ? "decoder " : "encoder ") + label;
    Lowered out;
    out.run.block = push(BlockPart::layer, std::move(label), std::move(layer));
    program_.blocks.back().kind = key.kind;
    out.output_requires_grad = requires_grad_;
    return out;
  }

  static void append(std::vector<Run>& runs, const Run& run) {
    const bool continues = !runs.empty() && runs.back().block == run.block &&
                           runs.back().first_layer + runs.back().count == run.first_layer;
    if (continues)
      runs.back().count += run.count;
    else
      runs.push_back(run);
  }

  const Job& job_;
  int64_t loss_batch_;
  PeftTargets targets_;
  Program program_;
  bool requires_grad_ = false;
  bool tied_weight_trains_ = true;
  int32_t embedding_ = 0, bridge_ = 0, mtp_embedding_ = 0, mtp_layer_ = 0, head_ = 0;
  std::optional<int32_t> loss_;
};

}  // namespace

std::vector<LayerRange> stage_layers(const Job& job, int64_t layers, int64_t stage) {
  const Strategy& s = job.strategy;
  if (s.framework != Framework::megatron) return layers_of_stage(layers, s.pp, s.vpp, stage);
  std::vector<LayerRange> out;
  for (const megatron::Chunk& chunk : megatron::stage_chunks(job, stage))
    out.push_back(chunk.layers);
  return out;
}

Program lower(const Job& job, int64_t loss_batch) { return Lowering(job, loss_batch).run(); }

ParameterCounts count_parameters(const Program& program) {
  ParameterCounts out;
  for (const StageProgram& stage : program.stages)
    for (const Run& run : stage.runs)
      for (const Param& p : program.blocks[static_cast<size_t>(run.block)].graph.params) {
        if (p.tied_copy) continue;
        const int64_t elements = checked_mul(p.elements(), run.count);
        out.total = checked_add(out.total, elements);
        if (p.trainable) out.trainable = checked_add(out.trainable, elements);
      }
  return out;
}

}  // namespace memplan
