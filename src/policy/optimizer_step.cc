#include "policy/optimizer_step.h"

#include <algorithm>
#include <string>
#include <vector>

#include "memplan/error.h"
#include "policy/fsdp.h"
#include "policy/step_programs.h"

namespace memplan {
namespace {

std::vector<StepParam> those(StepParams params, auto wanted) {
  std::vector<StepParam> out;
  std::copy_if(params.begin(), params.end(), std::back_inserter(out), wanted);
  return out;
}

std::vector<int> groups_of(StepParams params) {
  std::vector<int> out;
  for (const StepParam& param : params)
    if (std::find(out.begin(), out.end(), param.group) == out.end()) out.push_back(param.group);
  std::sort(out.begin(), out.end());
  return out;
}

void adam(StepLedger& ledger, StepParams params, const OptimizerSetup& setup, Version torch) {
  if (setup.impl == OptimizerImpl::foreach_) adam_foreach(ledger, params, setup.backend, torch);
  if (setup.impl == OptimizerImpl::forloop) adam_forloop(ledger, params);
  // fused: _fused_adam_ and _fused_adamw_ work in place.
}

/// One of param_groups.
void step(StepLedger& ledger, StepParams params, const OptimizerSetup& setup, Version torch) {
  switch (setup.kind) {
    case OptimizerKind::adamw:
    case OptimizerKind::adam:
      return adam(ledger, params, setup, torch);
    case OptimizerKind::adafactor:
      if (setup.impl == OptimizerImpl::foreach_)
        return adafactor_foreach(ledger, params, setup.backend);
      return adafactor_forloop(ledger, params);
    case OptimizerKind::lion:
      return lion(ledger, params);
    case OptimizerKind::adafactor_transformers:
      return adafactor_transformers(ledger, params);
    case OptimizerKind::galore:
      return galore(ledger, params, setup.rank);
    case OptimizerKind::muon:  // two optimizers, one step after the other
      muon(ledger, those(params, [&](const StepParam& p) {
             return takes(setup.kind, static_cast<size_t>(p.dims), p.hidden);
           }));
      return adam(ledger,
                  those(params,
                        [&](const StepParam& p) {
                          return !takes(setup.kind, static_cast<size_t>(p.dims), p.hidden);
                        }),
                  setup, torch);
    case OptimizerKind::adam8bit:
    case OptimizerKind::lion8bit:
    case OptimizerKind::paged_adamw:
    case OptimizerKind::paged_adamw8bit:
      // bitsandbytes 0.50: one CUDA kernel a parameter, in place (optim/optimizer.py update_step)
      if (setup.backend == Backend::cpu)
        throw Error(ErrorKind::not_modelled, "--optimizer " + std::string(to_string(setup.kind)),
                    "the step of bitsandbytes is known for CUDA alone");
      return;
    case OptimizerKind::sgd:           // torch/optim/sgd.py, 2.14: in place without weight decay,
    case OptimizerKind::sgd_momentum:  // by any implementation
    case OptimizerKind::adamw8bit_torchao:
    case OptimizerKind::adamw4bit_torchao:
    case OptimizerKind::lomo:
    case OptimizerKind::adalomo:
    case OptimizerKind::none:
      return;
  }
}

}  // namespace

StepPeak optimizer_step(const Strategy& strategy, std::span<const StepParam> params,
                        Backend backend) {
  if (updates_in_backward(strategy)) return {};
  const OptimizerSetup setup = optimizer_setup(strategy, backend);
  StepLedger ledger;
  if (strategy.clip_gradients && strategy.framework == Framework::fsdp1)
    clip_flat_gradients(ledger, params);
  else if (strategy.clip_gradients)
    clip_grad_norm(ledger, params, backend, fsdp::cuts_each(strategy));
  // GaLore's low-rank matrices are a param_group of their own, after the others.
  if (setup.kind == OptimizerKind::galore) {
    std::vector<StepParam> ordered(params.begin(), params.end());
    std::stable_sort(ordered.begin(), ordered.end(),
                     [](const StepParam& a, const StepParam& b) { return a.group < b.group; });
    std::stable_partition(ordered.begin(), ordered.end(), [&](const StepParam& p) {
      return !takes(setup.kind, static_cast<size_t>(p.dims), p.hidden);
    });
    step(ledger, ordered, setup, strategy.torch);
  } else {
    for (int group : groups_of(params))
      step(ledger, those(params, [&](const StepParam& p) { return p.group == group; }), setup,
           strategy.torch);
  }
  return ledger.peak();
}

StepPeak update_in_backward(const Strategy& strategy, const StepParam& param, Backend backend) {
  if (strategy.optimizer_in_backward) {
    Strategy own = strategy;
    own.optimizer_in_backward = own.clip_gradients = false;
    StepParam one = param;
    one.count = 1;
    return optimizer_step(own, std::span(&one, 1), backend);
  }
  StepLedger ledger;
  if (strategy.optimizer == OptimizerKind::lomo) lomo(ledger, param);
  if (strategy.optimizer == OptimizerKind::adalomo) adalomo(ledger, param);
  return ledger.peak();
}

}  // namespace memplan
