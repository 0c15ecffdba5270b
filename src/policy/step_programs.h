// The steps of optimizers, each written down from its source: operators in program order, with
// what they return and when Python lets go of it.
#pragma once

#include "ops/optimizer.h"
#include "policy/step_ledger.h"

namespace memplan {

/// torch.nn.utils.clip_grad_norm_. `sharded`: of DTensors, whose norms are added up over ranks.
/// FullyShardedDataParallel.clip_grad_norm_: each norm in fp32 (_get_grad_norm).
void clip_flat_gradients(StepLedger& ledger, StepParams params);
void clip_grad_norm(StepLedger& ledger, StepParams params, Backend backend, bool sharded);

/// torch.optim, one group of param_groups.
void adam_foreach(StepLedger& ledger, StepParams params, Backend backend, Version torch);
void adam_forloop(StepLedger& ledger, StepParams params);
void adafactor_foreach(StepLedger& ledger, StepParams params, Backend backend);
void adafactor_forloop(StepLedger& ledger, StepParams params);
void muon(StepLedger& ledger, StepParams matrices);

/// Other packages, all of param_groups.
void lion(StepLedger& ledger, StepParams params);
void adafactor_transformers(StepLedger& ledger, StepParams params);
void galore(StepLedger& ledger, StepParams params, int64_t rank);
void lomo(StepLedger& ledger, const StepParam& param);
void adalomo(StepLedger& ledger, const StepParam& param);

}  // namespace memplan
