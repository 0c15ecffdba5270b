#!/usr/bin/env bash
# Megatron-LM's arguments: files as their users have them, options over them, and what is said back.
source "$(dirname "$0")/../expect.sh"

files=$source_dir/examples/megatron

refuses() {  # CODE TEXT ARGUMENTS…
  expect "$1" fit "${@:3}"
  expect_err "$2"
}

# The file says the model; the launcher, or an option, says how many GPUs.
refuses 2 "add --gpus N" --megatron-args "$files/llama3_8b.args" --gpu h100-80g
refuses 2 "leave the model's name away" llama3-8b --megatron-args "$files/llama3_8b.args" --gpu h100-80g
refuses 2 "no GPU is named" --megatron-args "$files/gpt3_175b.sh"
refuses 2 "does not read arguments of Megatron-LM" --megatron-args "$files/gpt3_175b.sh" \
  --gpu h100-80g --framework textbook
refuses 2 "belongs to --framework megatron" gpt2 --gpu h100-80g --te-version 2.8

# Options win, in Megatron-LM's rules.
refuses 2 "--tp: --tensor-model-parallel-size: 5 does not divide --num-attention-heads 96" \
  --megatron-args "$files/gpt3_175b.sh" --gpu h100-80g --tp 5
refuses 2 "nearest: --gpus 128" --megatron-args "$files/gpt3_175b.sh" --gpu h100-80g --gpus 100
refuses 2 "is nothing that Megatron-LM has" --megatron-args "$files/gpt3_175b.sh" --gpu h100-80g \
  --optimizer adam8bit
refuses 2 "contradicts the arguments" --megatron-args "$files/gpt3_175b.sh" --gpu h100-80g \
  --weight-dtype fp32

# Words behind --, alone or after a file's.
refuses 2 "behind --: '--num-layer' is no argument of Megatron-LM; did you mean '--num-layers'?" \
  --gpu h100-80g --gpus 8 -- --num-layer 2
refuses 2 "behind --: --fp16: contradicts --bf16" --megatron-args "$files/llama3_8b.args" \
  --gpu h100-80g --gpus 8 -- --fp16

# Answers, a rank plan a stage; what is recomputed and not modelled is refused by name.
expect 0 fit --megatron-args "$files/gpt3_175b.sh" --gpu h100-80g
expect_out "stage 15"
expect_out "the vocabulary is padded from"
expect 0 fit --megatron-args "$files/deepseek.json" --gpu h100-80g --gpus 8
expect_out "buffers"
refuses 4 "recomputing layernorm is not modelled" --megatron-args "$files/deepseek.json" \
  --gpu h100-80g --gpus 8 -- --recompute-modules layernorm
refuses 4 "has no layers like gemma2's" gemma2-9b --framework megatron --gpu h100-80g

finish
