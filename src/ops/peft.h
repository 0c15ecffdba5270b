// PEFT on modules: which are adapted, and what each method adds to one.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "ops/graph.h"

namespace memplan {

/// Which modules a method sits on, compiled once for a job. Names are whole: "model.layers.3.
/// self_attn.q_proj". A target matches the whole name or a suffix after a dot; a single target with
/// regular-expression characters matches the whole name, as peft does; "all-linear" matches every
/// linear layer but the head.
class PeftTargets {
 public:
  /// Throws Error{bad_input} naming --peft where a regular expression is none. It is matched in
  /// polynomial time whatever it says; back-references are refused.
  explicit PeftTargets(const PeftSpec& peft);
  ~PeftTargets();
  PeftTargets(const PeftTargets&) = delete;
  PeftTargets& operator=(const PeftTargets&) = delete;

  bool adapts(std::string_view module, ModuleForm form) const;
  /// What rank_pattern says for the module, `fallback` where it says nothing.
  int64_t sized(std::string_view module, int64_t fallback) const;
  /// Whether equal layers may be adapted differently.
  bool by_layer() const { return by_layer_; }

 private:
  struct Pattern;
  bool named(std::string_view module, ModuleForm form) const;
  bool in_layers(std::string_view module) const;
  const PeftSpec& peft_;
  std::unique_ptr<const Pattern> target_, excluded_;
  bool by_layer_ = false;
};

/// Whether `target` is the whole name of a module or its end after a dot.
bool names_module(std::string_view target, std::string_view module);

/// Whether the context's PeftSpec::bias trains this bias of the model's own.
bool peft_trains_bias(std::string_view param, const OpContext& context);

/// Adds what the job's method puts on this module, if it sits there: parameters to g.params,
/// frozen tensors to g.buffers, the module to g.adapted. Returns whether it does. Throws
/// Error{bad_input} for a module that the method cannot sit on, or whose sizes do not divide.
bool adapt(Graph& g, const PeftModule& module);

/// A module of g.adapted and how often the model has it, in forward order.
struct AdaptedModule {
  const PeftModule* module = nullptr;
  int64_t count = 0;
};
/// Adds what all adapted modules share, once for the whole model: VeRA's matrices, VB-LoRA's bank.
void add_shared_peft(Graph& g, std::span<const AdaptedModule> adapted);

}  // namespace memplan
