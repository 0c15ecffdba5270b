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
refuses 4 "recomputing layernorm in the local spec is not modelled" --megatron-args "$files/llama3_8b.args" \
  --gpu h100-80g --gpus 8 -- --transformer-impl local --recompute-granularity selective --recompute-modules layernorm
# Muon: whole matrices on one rank each, in buffers of their own from 0.18 on, or whole on all.
muon=(--num-layers 2 --hidden-size 512 --num-attention-heads 8 --seq-length 1024 --max-position-embeddings 1024
  --micro-batch-size 1 --global-batch-size 4 --bf16 --vocab-size 32000 --tokenizer-type NullTokenizer
  --optimizer dist_muon)
expect 0 fit --gpu h100-80g --gpus 4 -- "${muon[@]}"
expect_out "reduce-scatter"
refuses 4 "gathers under forward, are not modelled" --gpu h100-80g --gpus 4 -- "${muon[@]}" \
  --no-use-layer-wise-param-layout --overlap-grad-reduce --overlap-param-gather
expect 0 fit --gpu h100-80g --gpus 4 -- "${muon[@]}" --no-use-layer-wise-param-layout
expect_out "ZeRO-1"
expect_out "rank 3"
# Gradients are reduced whole; weights are gathered after the step.
expect_out "all-reduce"
expect_out "all-gather"
[[ $out != *reduce-scatter* ]] || complain "gradients are scattered"
# 32000 · 512 words, 1024 · 512 positions and, a layer, 12 · 512² of matrices and 13 · 512 of vectors, two more at the
# end: 12 B a parameter of Adam's, 8 B of Muon's.
expect 0 fit --gpu h100-80g --gpus 4 --zero 0 --get /ranks/0/memory/optimizer -- "${muon[@]}"
checks=$((checks + 1))
want=$((12 * (32000 * 512 + 2 * 13 * 512 + 2 * 512) + 8 * (1024 * 512 + 2 * 12 * 512 * 512)))
((out == want)) || complain "optimizer states are $out, not $want"
# Adapters beside the linear layers of Megatron-core, which its tensor parallelism divides.
expect 0 fit llama3.1-8b --framework megatron --gpu h100-80g --gpus 4 --tp 2 --peft bridge-lora:r=16 --explain
expect_out "16 × 4096"
expect_out "dim 0 over tp 2, frozen"
expect_out "Megatron-Bridge"
refuses 4 "lora in Megatron-core is not modelled" llama3.1-8b --framework megatron --gpu h100-80g --peft lora
refuses 4 "has no layers like gemma2's" gemma2-9b --framework megatron --gpu h100-80g

# The busiest expert-parallel rank gets half of 2048 · 2 rows more. Of each its 8 layers keep the input
# of fc1 (h 1024) and of fc2 (f 2688) and the output of fc1 (2 · f) in bf16, and its probability.
moe=(fit --gpu h100-80g --gpus 16 --get /ranks/0/memory/activations --expert-imbalance)
words=(--num-layers 8 --hidden-size 1024 --num-attention-heads 16 --seq-length 2048 --max-position-embeddings 2048
  --micro-batch-size 1 --global-batch-size 16 --bf16 --num-experts 16 --moe-router-topk 2 --moe-grouped-gemm
  --expert-model-parallel-size 8 --moe-token-dispatcher-type alltoall --vocab-size 32000
  --tokenizer-type NullTokenizer --swiglu --disable-bias-linear)
expect 0 "${moe[@]}" 1 -- "${words[@]}"
even=$out
expect 0 "${moe[@]}" 1.5 -- "${words[@]}"
checks=$((checks + 1))
kept=$((8 * 2048 * 2 * (1024 + 2688 + 2 * 2688 + 1)))
((out - even == kept)) || complain "$((out - even)) more bytes, not $kept"
# Experts that are filled up to their capacity get no more.
full=(--moe-expert-capacity-factor 1 --moe-pad-expert-input-to-capacity)
expect 0 "${moe[@]}" 1 -- "${words[@]}" "${full[@]}"
even=$out
expect 0 "${moe[@]}" 1.5 -- "${words[@]}" "${full[@]}"
checks=$((checks + 1))
[[ $out == "$even" ]] || complain "padded experts got more rows"

# The last stage's weight gradients of the output layer wait for the pipeline to drain, each with its
# input [s, b, h] and the gradient of its logits [s, b, V / tp] in bf16.
piped=(fit --gpu h100-80g --gpus 8 --get '/ranks/1/phases/1/allocated')
words=(--num-layers 8 --hidden-size 1024 --num-attention-heads 16 --seq-length 2048 --max-position-embeddings 2048
  --micro-batch-size 1 --global-batch-size 32 --bf16 --vocab-size 32000 --tokenizer-type NullTokenizer
  --pipeline-model-parallel-size 2)
expect 0 "${piped[@]}" -- "${words[@]}"
now=$out
for limit in 0 1 3; do  # 0: of all 8 micro-batches; while the last one's backward runs, seven wait
  expect 0 "${piped[@]}" -- "${words[@]}" --defer-embedding-wgrad-compute --wgrad-deferral-limit $limit
  checks=$((checks + 1))
  waiting=$(((limit == 0 ? 7 : limit) * 2048 * (1024 + 32000) * 2))
  ((out - now == waiting)) || complain "$((out - now)) more bytes, not $waiting"
done
refuses 2 "add --pipeline-model-parallel-size" --gpu h100-80g --gpus 8 -- "${words[@]}" \
  --pipeline-model-parallel-size 1 --defer-embedding-wgrad-compute
refuses 2 "leave --no-gradient-accumulation-fusion away" --gpu h100-80g --gpus 8 -- "${words[@]}" \
  --defer-embedding-wgrad-compute --no-gradient-accumulation-fusion

# Megatron-FSDP: the meta device alone spares the whole model at the start; --zero 1 is the distributed
# optimizer instead of it.
fsdp=(--num-layers 8 --hidden-size 1024 --num-attention-heads 16 --seq-length 2048 --max-position-embeddings 2048
  --micro-batch-size 1 --bf16 --vocab-size 32000 --use-distributed-optimizer --use-megatron-fsdp
  --data-parallel-sharding-strategy optim_grads_params --no-gradient-accumulation-fusion)
sharded=(fit --gpu h100-80g --gpus 8 --get /ranks/0/phases/3/allocated)
expect 0 "${sharded[@]}" -- "${fsdp[@]}"
whole=$out
expect 0 "${sharded[@]}" -- "${fsdp[@]}" --init-model-with-meta-device
checks=$((checks + 1))
((out < whole)) || complain "the meta device spared nothing of $whole"
expect 0 fit --gpu h100-80g --gpus 8 --zero 1 --get /request/zero -- "${fsdp[@]}"
expect_out "1"
refuses 4 "Megatron-FSDP with full recomputation" --gpu h100-80g --gpus 8 --recompute full -- "${fsdp[@]}"
refuses 4 "Megatron-FSDP with pipeline parallelism" --gpu h100-80g --gpus 8 --pp 2 -- "${fsdp[@]}"

finish
