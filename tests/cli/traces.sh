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
expect 0 validate "$reference/torch_traces.jsonl" "${bounds[@]}"

# Other families, shapes and methods.
expect 0 validate "$reference/torch_traces_more.jsonl" "$reference/torch_traces_optimizers.jsonl" \
  --bound '*parameters:exact=100%' --bound 'trainable:exact=100%' --bound 'optimizer:exact=99%' \
  --bound 'activations:exact=90%' --bound 'activations:max=0.5%' \
  --bound 'peak.*:within0.1%=80%' --bound 'peak.*:max=1%' \
  --bound 'peak_at.*:exact=95%' --bound 'uncommon_at.*:exact=80%'
# One cause is left of states that differ: DeBERTa's norm_rel_ebd without relative attention.

finish
