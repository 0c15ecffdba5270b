// What no setting says and each framework has its own default for.
#pragma once

#include "cli/job_draft.h"

namespace memplan {

/// 16 bits by what the GPU computes in and by what is quantized.
void fill_precision(JobDraft& draft);

/// A model of another kind trained by Megatron-core: what its arguments would say by default.
void fill_megatron(JobDraft& draft);

/// FSDP's dtypes and resharding. Throws Error{bad_input} for a ZeRO stage that it does not have.
void fill_fsdp(JobDraft& draft);

/// Sizes that a ds_config.json leaves to "auto", and its own optimizer.
void fill_deepspeed(JobDraft& draft);

}  // namespace memplan
