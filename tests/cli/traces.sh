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
# The losses of other programs, every figure exact.
expect 0 validate "$reference/torch_traces_losses.jsonl" --bound '*:exact=100%'
# The modules of other programs, every figure exact.
expect 0 validate "$reference/torch_traces_programs.jsonl" --bound '*:exact=100%'

finish
