#!/usr/bin/env bash
# Rajbhandari, Rasley, Ruwase, He: ZeRO, arXiv 1910.02054. GB is 10^9 bytes, as in the paper.
# shellcheck source=examples/papers/lib.bash
source "$(dirname "${BASH_SOURCE[0]}")/lib.bash"
title "ZeRO: memory optimizations toward training trillion parameter models (arXiv 1910.02054)"

card=(--gpu v100-32g --precision mixed-fp16)
xl=(gpt2-xl "${card[@]}" --seq 1024)
gb() { calc "($1) / 1e9"; }
# states MODEL OPTIONS…: bytes of weights, gradients and optimizer on one GPU.
states() { get /ranks/0/states/weights,/ranks/0/states/gradients,/ranks/0/states/optimizer "$@" | total; }
# layers_keep MICRO_BATCH OPTIONS…: activations of gpt2-xl's 48 layers.
layers_keep() { calc "48 * $(layer_activations gpt2-xl 48 "$1" "${card[@]}" --seq 1024 "${@:2}")"; }

section "States: 16 bytes a parameter (section 3.1)"
row "1.5B: fp16 weights, GB" 3 "$(gb "$(get /ranks/0/states/weights 1.5B "${card[@]}")")"
row "1.5B: all states, GB" 24 "$(gb "$(states 1.5B "${card[@]}")")"
row "bytes a parameter" 16 "$(calc "$(states 1.5B "${card[@]}") / $(get /parameters 1.5B "${card[@]}")")"
row "gpt2-xl: parameters, in billions" 1.5 "$(gb "$(get /parameters "${xl[@]}")")" \
  "exactly $(get /parameters "${xl[@]}"): the paper cuts digits off"
row "gpt2-xl: all states, GB" 24 "$(gb "$(states "${xl[@]}")")" "16 bytes for each of them"

section "Activations of gpt2-xl at sequence 1024, batch 32 (section 3.2)"
everything=$(layers_keep 32 --activations zero)
checkpoints=$(layers_keep 32 --activations zero --recompute full)
row "ZeRO's estimate, GB" 60 "$(gb "$everything")" "24 bsh bytes a layer"
row "one checkpoint a layer, GB" 8 "$(gb "$checkpoints")" "the checkpoints alone: 2 bsh bytes a layer"
row "... and the layer that is computed again, GB" 8 "$(gb "$checkpoints + ($everything - $checkpoints) / 48")" \
  "the paper says 'about 8 GB' and not what it counts"
whole=$(get /ranks/0/memory/activations,/ranks/0/memory/transient "${xl[@]}" --micro-batch 32 --activations zero --recompute full | total)
row "... and embedding, head and loss, GB" 8 "$(gb "$whole")" \
  "mostly the fp32 logits of 32 samples, which the paper leaves out"
row "Korthikanti's model instead, GB" - "$(gb "$(layers_keep 32)")" \
  "34 bsh + 5 as^2 b bytes a layer: unfused attention keeps scores, which 24 bsh leaves out"
row "Korthikanti's, attention recomputed, GB" - "$(gb "$(layers_keep 32 --recompute selective)")" "34 bsh bytes a layer"

section "Why 24 GB of states do not fit a 32 GB card"
row "the card's memory, GB" 32 "$(gb "$(get /verdict/capacity_bytes "${xl[@]}")")" \
  "as its driver reports it: the paper's 32 GB are 32 GiB, and a process gets a little less"
for batch in 1 2 4 8 32; do
  job=("${xl[@]}" --micro-batch "$batch")
  row "all that the card must hold, micro-batch $batch, GB" - "$(gb "$(get /verdict/device_bytes/expected "${job[@]}")")" \
    "$(get /verdict/risk "${job[@]}"); with ZeRO's estimate of activations: $(get /verdict/risk "${job[@]}" --activations zero), $(two "$(gb "$(get /verdict/device_bytes/expected "${job[@]}" --activations zero)")") GB"
done

section "gpt2-xl, plain data parallelism on 8 cards of 32 GB, nothing recomputed"
ddp=("${xl[@]}" --gpus 8)
most() {  # largest micro-batch that fits; 0 where 1 does not
  local found
  found=$(get /limits/micro_batch "$@")
  if [[ $found == null ]]; then echo 0; else echo "$found"; fi
}
row "does not fit from micro-batch, Korthikanti" - "$(calc "$(most "${ddp[@]}") + 1")"
row "does not fit from micro-batch, ZeRO's estimate" - "$(calc "$(most "${ddp[@]}" --activations zero) + 1")"
for recompute in selective full; do
  row "with --recompute $recompute: from micro-batch" - "$(calc "$(most "${ddp[@]}" --recompute $recompute) + 1")"
done
for zero in 1 2 3; do
  row "with --zero $zero: from micro-batch" - "$(calc "$(most "${ddp[@]}" --zero $zero) + 1")"
done
note "What memplan suggests for micro-batch 1:"
get '/suggestions/*/change' "${ddp[@]}" | sed 's/^/    /'

section "7.5B on 64 GPUs (figure 1): GB a GPU"
paper=(120 31.4 16.6 1.9)
stage_names=(baseline Pos Pos+g Pos+g+p)
for zero in 0 1 2 3; do
  row "${stage_names[zero]}" "${paper[zero]}" "$(gb "$(states 7.5B "${card[@]}" --gpus 64 --zero $zero)")"
done

section "Reduction against plain data parallelism: the limit of many GPUs, and 64"
factor() { calc "$(states 7.5B "${card[@]}" --gpus "$1") / $(states 7.5B "${card[@]}" --gpus "$1" --zero "$2")"; }
million=$((2 ** 20))
row "Pos: 2^20 GPUs" 4 "$(factor $million 1)" "the limit: 16 / (4 + 12/N)"
row "Pos: 64 GPUs" "$(two "$(calc '120 / 31.4')")" "$(factor 64 1)" "the paper's own figures, 120 / 31.4; not yet 4"
row "Pos+g: 2^20 GPUs" 8 "$(factor $million 2)" "the limit: 16 / (2 + 14/N)"
row "Pos+g: 64 GPUs" 7.2 "$(factor 64 2)" "the paper's own figures, 120 / 16.6; not yet 8"
for gpus in 64 1024; do
  row "Pos+g+p: $gpus GPUs" $gpus "$(factor $gpus 3)" "N at every N"
done

section "Table 1: GB of states a GPU"
table1() {  # MODEL, then for DP 1, 4, 16, 64, 256, 1024: Pos Pos+g Pos+g+p
  local model=$1 dp zero
  shift
  mapfile -t ours < <(get '/reports/*/ranks/0/states' "$model" "${card[@]}" --dp 1,4,16,64,256,1024 --zero 1,2,3 |
    sed 's/[^0-9,]//g' | awk -F, '{ print ($3 + $4 + $5) / 1e9 }')
  for dp in 1 4 16 64 256 1024; do
    for zero in 1 2 3; do
      row "$model, DP $dp, ${stage_names[zero]}" "$1" "${ours[0]}"
      shift
      ours=("${ours[@]:1}")
    done
  done
}
table1 7.5B 120 120 120 52.5 41.3 30 35.6 21.6 7.5 31.4 16.6 1.88 30.4 15.4 0.47 30.1 15.1 0.12
table1 128B 2048 2048 2048 896 704 512 608 368 128 536 284 32 518 263 8 513 257 2
table1 1T 16000 16000 16000 7000 5500 4000 4750 2875 1000 4187 2218 250 4046 2054 62.5 4011 2013 15.6
note "Where the paper prints whole GB it cuts the rest off."

section "Traffic of one step (section 7): elements a GPU sends, in units of the model's size"
sent=(2 2 2 3)
for zero in 0 1 2 3; do
  for gpus in 64 1024; do
    psi=$(get '/communication/*/bytes_sent_per_gpu' 7.5B "${card[@]}" --gpus $gpus --zero $zero | total)
    row "${stage_names[zero]}, $gpus GPUs" "${sent[zero]}" "$(calc "$psi / 2 / 7.5e9 * $gpus / ($gpus - 1)")" \
      "times (N-1)/N, which the paper takes as 1: $(printf %.4f "$(calc "$psi / 2 / 7.5e9")") sent"
  done
done

section "The 1.4B ceiling of plain data parallelism at 32 GB (sections 1 and 10): what must be assumed"
bare=(1.4B --gpus 8 --gpu v100-32g)
capacity=$(get /verdict/capacity_bytes "${bare[@]}")
outside=$(get /ranks/0/memory/context,/ranks/0/memory/nccl "${bare[@]}" | total)
row "states alone, in billions" 1.4 "$(calc "($capacity - $outside) / 16 / 1e9")" \
  "16 bytes a parameter, context and NCCL: the ceiling is not one of states"

# ceiling BUFFER OPTIONS…: parameters of the largest model of gpt2-xl's width that fits, where BUFFER
# bytes a parameter are taken besides.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cut() {  # gpt2-xl with $1 layers
  cat >"$scratch/$1.json" <<CONFIG
{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 50257, "n_positions": 1024,
 "n_embd": 1600, "n_layer": $1, "n_head": 25}
CONFIG
}
ceiling() {
  local buffer=$1 low=1 high=96 middle parameters found=0
  shift
  while ((high - low > 1)); do
    middle=$(((low + high) / 2))
    cut $middle
    parameters=$(get /parameters "$scratch/$middle.json" --gpu v100-32g)
    if [[ $(get /verdict/risk "$scratch/$middle.json" "${card[@]}" --gpus 8 --seq 1024 \
      --gpu-memory $((capacity - buffer * parameters)) "$@") != "does not fit" ]]; then
      low=$middle found=$parameters
    else
      high=$middle
    fi
  done
  gb "$found"
}
for batch in 1 2; do
  for activations in zero korthikanti; do
    row "micro-batch $batch, activations $activations" 1.4 "$(ceiling 0 --micro-batch $batch --activations $activations)" \
      "nothing recomputed, no buffers"
    row "... and gradients fused in fp32" 1.4 "$(ceiling 4 --micro-batch $batch --activations $activations)" \
      "4 bytes a parameter (section 3.2: 6 GB of it for 1.5B)"
  done
done
row "micro-batch 8, all recomputed, fused gradients" 1.4 "$(ceiling 4 --micro-batch 8 --recompute full)" \
  "one checkpoint a layer"
note "The paper names neither the batch nor the buffers behind its 1.4B. States alone leave room for more;" \
  "what brings it down are the activations of the batch, and fp32 gradients fused into one buffer."
