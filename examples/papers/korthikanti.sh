#!/usr/bin/env bash
# Korthikanti et al.: Reducing activation recomputation in large transformer models, arXiv 2205.05198.
# shellcheck source=examples/papers/lib.bash
source "$(dirname "${BASH_SOURCE[0]}")/lib.bash"
title "Reducing activation recomputation in large transformer models (arXiv 2205.05198)"

t=8
common=(--gpu a100-80g --seq 2048 --precision mixed-fp16)
# Table 3: preset, layers, heads a, hidden h, micro-batch b, pipeline p, interleaving v, global batch.
models=("megatron-22b 48 64 6144 4 1 1 4" "megatron-175b 96 96 12288 1 8 3 64"
  "megatron-530b 105 128 20480 1 35 3 280" "megatron-1t 128 160 25600 1 64 1 512")

declare -A kept  # bytes a layer keeps, by preset and technique
section "Table 2: bytes one layer keeps for a micro-batch, s = 2048, t = 8"
for row_of in "${models[@]}"; do
  read -r name layers a h b _ <<<"$row_of"
  technique() {  # LABEL BYTES-PER-SBH-BY-TABLE-2 OPTIONS…
    kept[$name $1]=$(layer_activations "$name" "$layers" "$b" "${common[@]}" "${@:3}")
    row "$name, $1" "$(calc "2048 * $b * $h * ($2)")" "${kept[$name $1]}"
  }
  scores="5.0 * $a * 2048 / $h"
  technique "no parallelism" "34 + $scores"
  technique "tensor" "10 + (24 + $scores) / $t" --tp $t
  technique "tensor + sequence" "(34 + $scores) / $t" --tp $t --sequence-parallel
  technique "tensor, selective" "10 + 24.0 / $t" --tp $t --recompute selective
  technique "tensor + sequence, selective" "34.0 / $t" --tp $t --sequence-parallel --recompute selective
  technique "tensor, full" 2 --tp $t --recompute full
done

section "Figure 7: % of tensor parallelism alone"
percent() {  # PRESET TECHNIQUE PAPER
  row "$1, $2" "$3" "$(calc "100 * ${kept[$1 $2]} / ${kept[$1 tensor]}")" \
    "the bar's height as calculon reads it; memplan and Table 2 agree to the byte"
}
techniques=("tensor + sequence" "tensor, selective" "tensor + sequence, selective" "tensor, full")
bars() {  # PRESET PAPER…
  local name=$1 technique
  shift
  for technique in "${techniques[@]}"; do
    percent "$name" "$technique" "$1"
    shift
  done
}
bars megatron-22b 66.84 49.42 16.18 7.64
bars megatron-175b 62.04 56.53 18.49 8.71
bars megatron-530b 58.31 62.04 20.27 9.42
bars megatron-1t 58.31 62.04 20.27 9.42

section "Figure 1: GiB on the first GPU (values as calculon-ai/calculon, llm/validation.py, encodes the bars)"
gib() { calc "($1) / 1024^3"; }
states=(45.5625 45.5625 31.640625 32.958984375)
baseline=(59.25 66.84375 114.0234375 131.25)
present=(9.5625 12.3515625 23.076171875 26.5625)
for i in 0 1 2 3; do
  read -r name _ _ _ b p v batch <<<"${models[i]}"
  job=("$name" "${common[@]}" --grad-dtype fp32 --tp "$t" --pp "$p" --vpp "$v" --micro-batch "$b" --global-batch "$batch")
  middle=$((p > 1))  # a stage without embedding, where there is one
  row "$name: parameters and optimizer" "${states[i]}" \
    "$(gib "$(get "/ranks/$middle/states/weights,/ranks/$middle/states/gradients,/ranks/$middle/states/optimizer" "${job[@]}" | total)")" \
    "$( ((p > 1)) && echo "18 bytes a parameter, fp32 gradients; the bar counts 12 h^2 a layer, memplan biases and norms too" ||
      echo "18 bytes a parameter, fp32 gradients; the bar leaves out the embedding, which this one GPU holds too")"
  row "$name: activations, baseline" "${baseline[i]}" "$(gib "$(get /ranks/0/memory/activations "${job[@]}")")" \
    "the bar counts layers alone; memplan embedding$( ((p > 1)) || echo ", head and loss") too"
  row "$name: activations, present work" "${present[i]}" \
    "$(gib "$(get /ranks/0/memory/activations "${job[@]}" --sequence-parallel --recompute selective)")" \
    "likewise"
done
