#!/usr/bin/env bash
# torch.nn.DataParallel beside DistributedDataParallel (torch/nn/parallel/data_parallel.py): why GPU 0 is
# the one that runs out of memory.
# shellcheck source=examples/papers/lib.bash
source "$(dirname "${BASH_SOURCE[0]}")/lib.bash"
title "torch.nn.DataParallel against DistributedDataParallel: gpt2-xl, 4 GPUs, 2 samples of 1024 tokens each"

job=(gpt2-xl --gpu a100-80g --gpus 4 --seq 1024 --micro-batch 2)
dp=("${job[@]}" --data-parallel data-parallel)
mib() { calc "($1) / 1024^2"; }

printf '\n  %-24s %14s %14s %14s %16s   %s\n' 'MiB at the peak' "DP, GPU 0" "DP, GPUs 1-3" "DDP, each" "GPU 0's surplus" 'comment'
line() {  # HOLDER COMMENT
  local first other ddp
  first=$(mib "$(get "/ranks/0/memory/$1" "${dp[@]}")")
  other=$(mib "$(get "/ranks/1/memory/$1" "${dp[@]}")")
  ddp=$(mib "$(get "/ranks/0/memory/$1" "${job[@]}")")
  printf '  %-24s %14.2f %14.2f %14.2f %+16.2f   %s\n' "$1" "$first" "$other" "$ddp" "$(calc "$first - $ddp")" "$2"
}
line weights "the others get a copy at every forward"
line gradients "GPU 0's are the sum of all; the others' are sent to it and freed"
line optimizer "one process, one optimizer: on GPU 0 alone"
line activations "GPU 0 computes the loss of all 8 samples, in fp32"
line transient "nothing is gathered or recomputed"
line buffers "the outputs of all replicas, gathered"
line context "CUDA context"
line nccl "DataParallel copies, DDP has a communicator"
line device "in all"

section "GPU 0's surplus, from the model's shape"
logits=$((1024 * 50257))
surplus() { calc "$(get "/ranks/0/memory/$1" "${dp[@]}") - $(get "/ranks/0/memory/$1" "${job[@]}")"; }
row "fp32 logits of the other 6 samples, bytes" $((6 * logits * 4)) "$(surplus activations)"
row "16-bit logits of all 8 samples, bytes" $((8 * logits * 2)) "$(surplus buffers)"
row "worst GPU of DataParallel" 0 "$(get /verdict/worst_rank "${dp[@]}")"
for gpus in 2 4 8; do
  row "on $gpus GPUs: GPU 0 holds more than DDP by, MiB" - \
    "$(mib "$(get /ranks/0/memory/allocated "${dp[@]/4/$gpus}") - $(get /ranks/0/memory/allocated "${job[@]/4/$gpus}")")" \
    "it grows with the GPUs: they share one loss"
done
