#!/usr/bin/env bash
# The presets and names.
source "$(dirname "$0")/../expect.sh"

for topic in models gpus nodes frameworks optimizers schedules precisions recompute attention activations \
  peft offload data-parallel families; do
  expect 0 show "$topic"
  checks=$((checks + 1))
  [[ $(wc -l <<<"$out") -gt 2 ]] || complain "nothing to show"
  expect 0 show "$topic" --json
  expect_out '"name": "'
done
expect 0 show
expect_out "WHAT is one of"

expect 0 show models
expect_out "llama3-8b"
expect 0 show models llama3-8b
expect_out "8,030,261,248"
expect_out "kv heads           8"
expect 0 show model llama3-8b --json
expect_out '"parameters": 8030261248'
expect 0 show gpus "H100 SXM"
expect_out "NVIDIA H100 SXM5"
expect_out "source"
expect 0 show schedules gpipe
expect_out "1811.06965"
expect 0 show precisions mixed-bf16 --json
expect_out '"master_copy": "fp32"'
expect 0 show frameworks textbook
expect_out "available  yes"

# Every preset is a model that can be asked for, every GPU and node likewise.
mapfile -t gpus < <("$memplan" show gpus --json | sed -n 's/^    "name": "\(.*\)",$/\1/p')
mapfile -t nodes < <("$memplan" show nodes --json | sed -n 's/^    "name": "\(.*\)",$/\1/p')
mapfile -t models < <("$memplan" show models --json | sed -n 's/^    "name": "\(.*\)",$/\1/p')
checks=$((checks + 1))
((${#gpus[@]} > 20 && ${#nodes[@]} > 5 && ${#models[@]} >= 60)) || complain "presets are missing"
for gpu in "${gpus[@]}"; do expect 0 fit gpt2 --gpu "$gpu" --seq 64; done
for node in "${nodes[@]}"; do expect 0 fit gpt2 --cluster "$node" --seq 64; done
for model in "${models[@]}"; do
  expect 0 fit "$model" --gpu b300 --gpus 64 --zero 3 --recompute full --seq 64
done

finish
