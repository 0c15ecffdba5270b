#!/usr/bin/env bash
# Shoeybi et al.: Megatron-LM, arXiv 1909.08053.
# shellcheck source=examples/papers/lib.bash
source "$(dirname "${BASH_SOURCE[0]}")/lib.bash"
title "Megatron-LM: training multi-billion parameter language models using model parallelism (arXiv 1909.08053)"

card=(--gpu v100-32g --precision mixed-fp16 --seq 1024)
# traffic FIELD JOB…: FIELD of every all-reduce that the layers do over the tensor-parallel group.
traffic() {
  paste -d' ' <(get '/communication/*/group' "${@:2}") <(get '/communication/*/what' "${@:2}") \
    <(get "/communication/*/$1" "${@:2}") | awk '$1 == "tensor_parallel" && $2 == "layers" { print $3 }'
}

section "Parameters (table 1), in billions"
for size in 1.2 2.5 4.2 8.3; do
  row "megatron-${size}b" "$size" "$(calc "$(get /parameters "megatron-${size}b" "${card[@]}") / 1e9")"
done

section "All-reduces of a layer and micro-batch (section 3, figure 4), 8.3B 8-way"
layers=72
big=(megatron-8.3b "${card[@]}" --tp 8 --micro-batch 8)
for m in 1 4; do
  job=("${big[@]}" --global-batch $((8 * m)))
  row "$m micro-batches" 4 "$(calc "$(traffic count "${job[@]}" | total) / $layers / $m")"
  row "$m micro-batches, all recomputed" 6 "$(calc "$(traffic count "${job[@]}" --recompute full | total) / $layers / $m")" \
    "the forward's two again; the paper counts without recomputation"
done
row "bytes of one" "$(calc "2 * 8 * 1024 * 3072")" "$(traffic bytes "${big[@]}" | head -n 1)" "2 bsh, in fp16"
row "bytes a GPU sends for it, ring" "$(calc "2 * 7 / 8 * 2 * 8 * 1024 * 3072")" \
  "$(calc "$(traffic bytes_sent_per_gpu "${big[@]}" | total) / $(traffic count "${big[@]}" | total)")" "2 (t-1)/t of it"
row "GB a GPU sends in a step for all layers" - "$(calc "$(traffic bytes_sent_per_gpu "${big[@]}" | total) / 1e9")"
row "the same, all recomputed" - "$(calc "$(traffic bytes_sent_per_gpu "${big[@]}" --recompute full | total) / 1e9")"

section "8.3B, 8-way tensor x 64-way data parallelism, batch 512 (section 5.1)"
job=("${big[@]}" --cluster 32xdgx-2 --global-batch 512 --recompute full)
row "GPUs" 512 "$(get /request/gpus "${job[@]}")" "32 nodes of 16 V100"
row "data-parallel replicas" 64 "$(get /request/dp "${job[@]}")"
row "billions of parameters on one GPU" - "$(calc "$(get /ranks/0/states/parameters "${job[@]}") / 1e9")" \
  "more than an eighth: norms, biases behind all-reduces and positions are on every GPU"
row "GB of states on one GPU" - "$(calc "$(get /ranks/0/states/weights,/ranks/0/states/gradients,/ranks/0/states/optimizer "${job[@]}" | total) / 1e9")" \
  "16 bytes a parameter; one GPU for all of it would need $(two "$(calc "16 * $(get /parameters "${job[@]}") / 1e9")")"
row "GB on one GPU, everything" 32 "$(calc "$(get /verdict/device_bytes/expected "${job[@]}") / 1e9")" \
  "$(get /verdict/risk "${job[@]}"): the card has 32 GiB"
row "the same without recomputation" 32 "$(calc "$(get /verdict/device_bytes/expected "${job[@]:0:${#job[@]}-2}") / 1e9")" \
  "$(get /verdict/risk "${job[@]:0:${#job[@]}-2}"): so the paper recomputes"

section "Tensor parallelism across nodes"
across=(megatron-8.3b --cluster 64xdgx-1-v100 --precision mixed-fp16 --seq 1024 --tp 16 --micro-batch 8 --recompute full)
row "GB a GPU sends over the group in a step" - "$(calc "$(traffic bytes_sent_per_gpu "${across[@]}" | total) / 1e9")" \
  "$(get '/communication/*/crosses_nodes' "${across[@]}" | head -n 1 | sed 's/true/crosses nodes/')"
note "memplan warns:"
get '/warnings/*' "${across[@]}" | fold -s -w 110 | sed 's/^/    /'
note "Step time, and with it the 76 % of linear scaling, is not modelled."
