#!/usr/bin/env bash
# memplan fit --lengths: the worst micro-batch of samples that differ in length.
source "$(dirname "$0")/../expect.sh"

printf '100 9000\n1000 900\n6000 100\n' >"$scratch/lengths.txt"
job=(fit qwen2.5-0.5b --framework huggingface --gpu rtx-4090 --micro-batch 2)

# The answer is that of the longest sample, beside shorter ones.
expect 0 "${job[@]}" --seq 1000 --padding-mask --get /ranks/0/memory/allocated
allocated=$out
expect 0 "${job[@]}" --lengths "$scratch/lengths.txt" --seq 1000 --get /ranks/0/memory/allocated
checks=$((checks + 1))
[[ $out == "$allocated" ]] || complain "not the answer to --seq 1000 with a mask, $allocated"
expect 0 "${job[@]}" --lengths "$scratch/lengths.txt" --seq 1000 --get /request/seq,/request/padding_mask
expect_out "1000"
expect_out "true"

# 1 % of the samples are too long: of a step of 2 samples 1 - 0.99² = 1.99 % meet one.
expect 1 "${job[@]}" --lengths "$scratch/lengths.txt"
expect_out "of 10,000 samples with 100 to 6,000 tokens"
expect_out "half of the"
expect_out "at most 100"
expect_out "100 of 10,000 samples are longer than"
expect_out "1.99 %"

# Batches that are never padded, and bad files.
expect 2 "${job[@]}" --lengths "$scratch/lengths.txt" --seq 100,200
expect_err "--seq: a list stands beside --lengths"
expect 4 fit --gpu h100-80g --gpus 1 --lengths "$scratch/lengths.txt" -- --num-layers 2 --hidden-size 64 \
  --num-attention-heads 4 --seq-length 128 --max-position-embeddings 128 --micro-batch-size 1 --bf16
expect_err "Megatron-LM gives every sample --seq-length tokens"
expect 2 fit llama3.2-3b --framework torchtune --gpu a100-80g --packed --lengths "$scratch/lengths.txt"
expect_err "packed batches are full"
expect 2 "${job[@]}" --lengths "$scratch/none.txt"
expect_err "no such file"
echo 'tokens samples' >"$scratch/header.txt"
expect 2 "${job[@]}" --lengths "$scratch/header.txt"
expect_err "header.txt:1: 'tokens' is no whole number"

finish
