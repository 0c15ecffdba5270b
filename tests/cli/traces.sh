#!/usr/bin/env bash
# How near memplan must come to what PyTorch really allocated: tests/reference/torch_traces*.jsonl.
source "$(dirname "$0")/../expect.sh"

bounds=(
  --bound '*parameters:exact=100%' --bound 'trainable:exact=100%' --bound 'optimizer:exact=100%'
  --bound 'activations:exact=90%' --bound 'activations:max=0.5%'
  --bound 'peak.*:within0.1%=80%' --bound 'peak.*:max=1%'
  --bound 'peak_at.*:exact=95%' --bound 'uncommon_at.*:exact=80%'
)
reference=$source_dir/tests/reference
traces() { expect 0 validate "$reference/torch_traces$1.jsonl" "${bounds[@]}"; }

traces ''
traces _more        # other families, shapes and methods
traces _optimizers
traces _quantized   # bitsandbytes on the CPU
traces _peft        # every method, in four shapes
traces _versions    # releases of transformers and torch
traces _sharded     # fully_shard and parallelize_module: worlds, copies, policies, families, 4-bit weights
traces _deepspeed   # engines of every stage
# FullyShardedDataParallel: every strategy, prefetching, accumulation, units; every figure exact but
# the first step's where forward_prefetch does not yet run.
expect 0 validate "$reference/torch_traces_fsdp1.jsonl" --bound '*parameters:exact=100%' \
  --bound 'optimizer:exact=100%' --bound 'activations:exact=100%' --bound 'peak*:exact=100%' \
  --bound 'phase.between:exact=100%' --bound 'phase.evaluation:exact=95%'
# torchtitan's step: every figure exact but some bytes of the loss that its loop keeps from step to step.
expect 0 validate "$reference/torch_traces_torchtitan.jsonl" --bound '*parameters:exact=100%' \
  --bound 'optimizer:exact=100%' --bound 'activations:exact=100%' --bound 'peak*:exact=100%' \
  --bound 'phase.*:max=0.02%'
bounds+=(--bound 'phase.*:exact=90%' --bound 'phase.*:max=0.005%')
traces _phases      # the first step, between steps, evaluation
# The losses of other programs, every figure exact.
expect 0 validate "$reference/torch_traces_losses.jsonl" --bound '*:exact=100%'
# The modules of other programs, every figure exact.
for name in programs torchtune; do
  expect 0 validate "$reference/torch_traces_$name.jsonl" --bound '*:exact=100%'
done

# Operators alone on an A100 and an H100, as Liger-Kernel measured them: printed to 0.01 MiB.
operators=()
for name in 'cross_entropy *' 'fused_linear_cross_entropy huggingface' 'geglu *' 'swiglu *' 'layer_norm *' \
  'rms_norm huggingface'; do
  operators+=(--bound "linkedin/Liger-Kernel@$name:max=0.02%")
done
expect 0 validate "$reference/published.jsonl" "${operators[@]}"

finish
