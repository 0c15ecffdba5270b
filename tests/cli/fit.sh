#!/usr/bin/env bash
# Verdicts, defaults and where settings come from.
source "$(dirname "$0")/../expect.sh"

# Sentences are wrapped; what matters is their words.
expect_words() {
  out=$(tr -s ' \n' ' ' <<<"$out")
  expect_out "$1"
}

# The exit code is the verdict.
expect 0 fit llama3-8b --gpu h100-80g --gpus 8 --zero 3 --seq 8192 --attention flash
expect_out "llama3-8b on 8 × h100-80g: fits"
expect_out "8.03B parameters"
expect 1 fit llama3-8b --gpu h100-80g
expect_out "does not fit"
expect_out "It fits with"
expect 0 fit 7.5B --gpu v100-32g --gpus 64 --zero 3
expect_out "the states alone fit"
expect 1 fit 7.5B --gpu v100-32g

# Kinds of jobs.
expect 0 fit gpt2 --gpu-memory 24GiB
expect_out "gpt2 on 1 × custom"
expect 0 fit gpt2 --gpu "H100 SXM" --forward-only
expect_out "forward only"
expect 0 fit gpt2 --gpu v100-32g --gpus 4 --data-parallel data-parallel
expect_out "GPU 0 of DataParallel"
expect 0 fit gpt2 --gpu v100-32g --peft lora
expect_words "LoRA beside c_attn, as peft chooses for this family"
expect 0 fit gpt2 --gpu v100-32g --offload cpu
expect_words "--offload cpu is optimizer=cpu,gradients=cpu"
expect 0 fit gpt2 --gpu v100-32g --train last:2
expect_out "train last:2"
expect 0 fit mixtral-8x7b --cluster 8xdgx-h100 --ep 8 --zero 1 --attention flash
expect_out "64 × h100-80g on 8 nodes"
expect 0 fit llama3-8b --cluster dgx-h100 --tp 8 --attention flash
expect_out "dp 1 · tp 8"
expect 0 fit gpt2 --gpu mi300x
expect_out "cannot be told"

# Defaults are told.
expect 0 fit gpt2 --gpu v100-32g
expect_words "1 GPU; precision mixed-fp16, for v100-32g has no bf16; sequence 1024, the model's longest"
expect 0 fit gpt2 --gpu v100-32g --dp 2 --tp 2 --pp 2
expect_out "gpt2 on 8 × v100-32g"
expect_words "global batch 4: 2 micro-batches, one for each stage"

# Where a setting comes from.
expect 0 fit gpt2 --gpu v100-32g --gpus 16 --tp 2 --explain
expect_out "Settings and where they come from"
expect_out "dp                 8            gpus / (tp · pp · cp)"
expect_out "tp                 2            command line"
expect_out "preset v100-32g"
expect_out "grad_dtype         fp16         precision mixed-fp16"
expect_out "default of a GPU without bf16"
expect_out "elements × 2 B"
expect_out "arXiv 1910.02054"

# Lists: a row each, a refusal is a row too, 0 where one fits.
expect 0 fit llama3-8b --gpu h100-80g --gpus 16 --tp 1,2,3 --zero 1,3 --attention flash
expect_out "--tp  --zero"
expect_out "refused [1]"
checks=$((checks + 1))
[[ $(grep -c ' fits$\| tight$\| does not fit$\|refused \[1\]$' <<<"$out") == 6 ]] || complain "not six rows"
expect 1 fit llama3-8b --gpu v100-16g,v100-32g
expect 2 fit llama3-8b --gpu h100-80g --gpus 16 --tp 3,5
expect_err "--gpus: 16 GPUs cannot be cut"
expect 2 fit llama3-8b --gpu h100-80g --tp 1,x
expect_err "'x' is not a whole number"
expect 2 fit llama3-8b --gpu h100-80g --tp 1,,2
expect_err "has an empty item"
hundred=$(seq -s, 1 100)
expect 2 fit llama3-8b --gpu h100-80g --micro-batch "$hundred" --seq "$hundred"
expect_err "more than 1000 jobs"
expect 0 fit gpt2 --gpu v100-32g --seq 128,256 --json
expect_out '"reports": ['

# JSON holds one document and nothing else.
expect 0 fit gpt2 --gpu v100-32g --json
checks=$((checks + 1))
[[ $out == "{"*"}" ]] || complain "stdout is more than a document"
expect_out '"schema_version": 1'
expect_out '"fits": true'

# Phases beside the steady step: before it there are no moments, in evaluation nothing is kept.
expect 0 fit llama3.2-1b --framework huggingface --gpu a100-80g --attention sdpa --seq 1024 --get '/ranks/0/phases/*/phase'
expect_out "$(printf '%s\n' forward backward 'optimizer step' initialisation 'first step' evaluation \
  'checkpoint save' 'checkpoint load' resume)"
# 7B parameters on each of 64 GPUs: while 2 B a parameter move into buffers of 2 + 4, all 8 are there.
expect 0 fit --gpu h100-80g --gpus 64 --get /ranks/0/peak/phase -- --num-layers 32 --hidden-size 4096 \
  --num-attention-heads 32 --ffn-hidden-size 14336 --group-query-attention --num-query-groups 8 --seq-length 1024 \
  --max-position-embeddings 1024 --micro-batch-size 1 --global-batch-size 64 --bf16 --use-distributed-optimizer \
  --swiglu --disable-bias-linear --vocab-size 32000 --tokenizer-type NullTokenizer --recompute-granularity full \
  --recompute-method uniform --recompute-num-layers 1
expect_out initialisation

finish
