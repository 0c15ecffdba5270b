// pretrain_mamba.py and pretrain_hybrid.py: what they make of the arguments beside what
// pretrain_gpt.py does (megatron/training/arguments.py, core/ssm/mamba_hybrid_layer_allocation.py,
// core/ssm/mamba_mixer.py, core 0.18).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "input/megatron_model.h"
#include "memplan/error.h"
#include "memplan/units.h"

namespace memplan {
namespace {

using V = MegatronValues;

constexpr std::string_view kPattern = "--hybrid-layer-pattern",
                           kOverride = "--hybrid-override-pattern";
constexpr std::string_view kLetters = "M, *, - and E";

// pattern_from_ratios: attention spread evenly, then MLPs over what is left.
std::string pattern_of(int64_t layers, double attention, double mlp) {
  std::string out(static_cast<size_t>(layers), 'M');
  const auto spread = [&](double first, double distance, char letter) {
    double x = first;
    for (char& c : out) {
      if (c != 'M') continue;
      if (x < 0.5) {
        c = letter;
        x += distance;
      } else {
        x -= 1;
      }
    }
  };
  // Python's round: halves to the even number.
  const double all = static_cast<double>(layers), stars = std::nearbyint(all * attention);
  const double section = (all - stars) / (stars + 1);
  spread(section, section, '*');
  const double lines = std::nearbyint(all * mlp);
  if (lines > 0) {
    const double ratio = (all - stars - lines) / lines;
    spread(ratio, ratio, '-');
  }
  return out;
}

void require_letters(const StatedWord& pattern, std::string_view name) {
  if (pattern.value.find('/') != std::string::npos)
    megatron_refuse(pattern.where, std::string(name) +
                                       ": multi-token prediction of hybrid models is not modelled");
  for (char c : pattern.value) {
    if (c == 'M' || c == '*' || c == '-' || c == 'E' || c == '|') continue;
    const std::string letter = printable(std::string(1, c));
    if (c == 'G' || c == 'D' || c == '+')
      megatron_refuse(pattern.where,
                      fmt::format("{}: layers of kind {} are not modelled", name, letter));
    megatron_bad(pattern.where, name, "'" + letter + "' is no kind of layer",
                 fmt::format("letters are {}, stages end at |", kLetters));
  }
}

// A part of the pipeline's layout for each stage of the pattern.
std::string layout_of(std::string_view pattern) {
  std::string out = "E";
  for (char c : pattern) out += c == '|' ? '|' : 't';
  return out + "L";
}

void require_no_other_split(const V& v, std::string_view name) {
  const auto refuse = [&](const auto& stated, std::string_view argument) {
    if (stated.given())
      megatron_bad(stated.where, argument, "contradicts the stages of " + std::string(name),
                   "leave it away");
  };
  refuse(v.first_stage, "--decoder-first-pipeline-num-layers");
  refuse(v.last_stage, "--decoder-last-pipeline-num-layers");
}

void require_no_virtual_stages(const V& v) {
  const auto refuse = [&](const auto& stated, std::string_view argument) {
    if (stated.given())
      megatron_bad(stated.where, argument, "does not go with a hybrid model",
                   "end each stage of --hybrid-layer-pattern with |");
  };
  refuse(v.virtual_layers, "--num-layers-per-virtual-pipeline-stage");
  refuse(v.virtual_stages, "--num-virtual-stages-per-pipeline-rank");
  refuse(v.layout, "--pipeline-model-parallel-layout");
  refuse(v.for_embedding, "--account-for-embedding-in-pipeline-split");
  refuse(v.for_loss, "--account-for-loss-in-pipeline-split");
}

// --spec names a module and what to take of it.
void require_known_layers(const StatedList& spec) {
  if (!spec.given()) return;
  const bool mamba =
      spec.value ==
      std::vector<std::string>{"megatron.core.models.mamba.mamba_layer_specs", "mamba_stack_spec"};
  const bool hybrid =
      spec.value == std::vector<std::string>{"megatron.core.models.hybrid.hybrid_layer_specs",
                                             "hybrid_stack_spec"};
  if (!mamba && !hybrid)
    megatron_refuse(spec.where, "--spec: the layers come from a module that is not read");
}

int64_t mixer_heads(const V& v, int64_t hidden) {
  if (v.mamba_heads.given()) return v.mamba_heads.value;
  const int64_t width = checked_mul(2, hidden), head = v.mamba_head_dim.value;
  if (width % head != 0)
    megatron_bad(v.mamba_head_dim.where, "--mamba-head-dim",
                 fmt::format("{} does not divide the mixer's width {}", head, width),
                 fmt::format("nearest: {}", nearest_divisor(width, head)));
  return width / head;
}

void state_spaces(const V& v, Job& job) {
  SsmSpec& ssm = job.model.ssm;
  const int64_t tp = job.strategy.tp;
  ssm = {.heads = mixer_heads(v, job.model.hidden),
         .head_dim = v.mamba_head_dim.value,
         .groups = v.mamba_groups.value,
         .state = v.mamba_state.value};
  product({ssm.heads, ssm.head_dim, job.model.hidden});
  product({ssm.groups, ssm.state, job.model.hidden});
  if (ssm.heads % ssm.groups != 0)
    megatron_bad(v.mamba_groups.where, "--mamba-num-groups",
                 fmt::format("{} does not divide the mixer's {} heads", ssm.groups, ssm.heads),
                 fmt::format("nearest: {}", nearest_divisor(ssm.heads, ssm.groups)));
  if (ssm.groups % tp != 0)
    megatron_bad(v.tp.where, "--tensor-model-parallel-size",
                 fmt::format("{} does not divide --mamba-num-groups {}", tp, ssm.groups),
                 fmt::format("nearest: {}", nearest_divisor(ssm.groups, tp)));
}

// What GPTModel has and these layers do not, or not as far as it is modelled.
void require_modelled(const V& v, const Job& job) {
  const Strategy& s = job.strategy;
  if (v.implementation.value == "local")
    megatron_refuse(v.implementation.where,
                    "--transformer-impl local of hybrid models is not modelled");
  if (v.no_fused_mamba.value)
    megatron_refuse(v.no_fused_mamba.where,
                    "--disable-mamba-mem-eff-path: the unfused mixer is not modelled");
  if (v.mamba_states.given())
    megatron_refuse(v.mamba_states.where,
                    "--mamba-training-ssm-states-dtype: states in a dtype of their own are not "
                    "modelled");
  if (v.latent_attention.value)
    megatron_refuse(v.latent_attention.where,
                    "--multi-latent-attention of hybrid models is not modelled");
  if (v.mtp_layers.value > 0)
    megatron_refuse(v.mtp_layers.where, "--mtp-num-layers of hybrid models is not modelled");
  if (s.cp > 1)
    megatron_refuse(v.cp.where, "--context-parallel-size of hybrid models is not modelled");
  if (s.recompute == Recompute::full)
    megatron_refuse(v.recompute_granularity.where,
                    "--recompute-granularity full of hybrid models is not modelled");
}

}  // namespace

bool says_hybrid(const V& v) {
  return v.hybrid_pattern.given() || v.hybrid_override.given() || v.hybrid_attention.given() ||
         v.hybrid_mlp.given() || v.hybrid_model.given();
}

void refuse_hybrid(const V& v) {
  if (v.spec.given())
    megatron_refuse(v.spec.where, "--spec: the layers come from a module that is not read");
  const auto refuse = [](const auto& stated, std::string_view argument) {
    if (stated.given())
      megatron_bad(stated.where, argument, "belongs to hybrid models", "start pretrain_mamba.py");
  };
  refuse(v.hybrid_pattern, kPattern);
  refuse(v.hybrid_override, kOverride);
  refuse(v.hybrid_attention, "--hybrid-attention-ratio");
  refuse(v.hybrid_mlp, "--hybrid-mlp-ratio");
  refuse(v.mamba_heads, "--mamba-num-heads");
  refuse(v.hybrid_model, "--is-hybrid-model");
}

void expand_hybrid(V& v) {
  if (v.hybrid_pattern.given() && v.hybrid_override.given())
    megatron_bad(v.hybrid_override.where, kOverride, "is given beside --hybrid-layer-pattern",
                 "give one of the two");
  require_no_virtual_stages(v);
  const bool overrides = v.hybrid_override.given();
  const std::string_view name = overrides ? kOverride : kPattern;
  StatedWord pattern = overrides ? v.hybrid_override : v.hybrid_pattern;
  if (!pattern.given()) {
    if (!v.layers.given()) megatron_missing(kPattern, "M-M-M*-");
    if (v.layers.value > 100'000) return;  // refused with the rest of the model
    if (v.hybrid_attention.value + v.hybrid_mlp.value > 1)
      megatron_bad(v.hybrid_mlp.where, "--hybrid-mlp-ratio",
                   "and --hybrid-attention-ratio are more than 1 together", "give less");
    pattern = {pattern_of(v.layers.value, v.hybrid_attention.value, v.hybrid_mlp.value),
               v.layers.where};
  }
  require_letters(pattern, name);
  const auto stages = static_cast<int64_t>(std::ranges::count(pattern.value, '|')) + 1;
  if (stages > 1) {
    require_no_other_split(v, name);
    if (stages % v.pp.value != 0)
      megatron_bad(pattern.where, name,
                   fmt::format("its {} parts cannot be dealt to {} stages", stages, v.pp.value),
                   fmt::format("nearest: {} parts", ceil_div(stages, v.pp.value) * v.pp.value));
    v.layout = {layout_of(pattern.value), pattern.where};
  }
  std::erase(pattern.value, '|');
  const auto layers = static_cast<int64_t>(pattern.value.size());
  if (layers == 0) megatron_bad(pattern.where, name, "holds no layer", "write M-M-M*-");
  if (overrides && v.layers.given() && v.layers.value != layers)
    megatron_bad(v.layers.where, "--num-layers",
                 fmt::format("{} is not the {} layers of {}", v.layers.value, layers, kOverride),
                 fmt::format("nearest: {}", layers));
  v.layers = {layers, pattern.where};
  v.hybrid_pattern = pattern;
}

void apply_megatron_hybrid(const V& v, Job& job) {
  ModelSpec& model = job.model;
  require_known_layers(v.spec);
  require_modelled(v, job);
  model.family = "megatron_hybrid";
  model.hybrid_pattern = v.hybrid_pattern.value;
  state_spaces(v, job);
  const bool expert_layers = model.hybrid_pattern.find('E') != std::string::npos;
  if (expert_layers && model.moe.experts == 0)
    megatron_bad(v.hybrid_pattern.where, kPattern, "has layers E of a model without experts",
                 "add --num-experts N");
  if (!expert_layers && model.moe.experts > 0)
    megatron_bad(v.experts.where, "--num-experts", "the pattern has no layer E",
                 "write E where experts stand");
}

}  // namespace memplan
