#!/usr/bin/env bash
# A report's request is read back to the same job, and options win over it.
source "$(dirname "$0")/../expect.sh"

# The request and the figures of a report; what was taken for granted is spelled out the second time.
comparable() { sed '/^  "assumptions": \[$/,/^  \]/d; /^  "assumptions": \[\]/d' "$1"; }

same() {  # ARGUMENTS of fit: asked, read back, asked again
  expect "$1" fit "${@:2}" --json --output "$scratch/first.json"
  expect "$1" fit --request "$scratch/first.json" --json --output "$scratch/second.json"
  checks=$((checks + 1))
  cmp -s <(comparable "$scratch/first.json") <(comparable "$scratch/second.json") ||
    complain "the job read back is another: $(diff <(comparable "$scratch/first.json") \
      <(comparable "$scratch/second.json") | head -4)"
}

same 0 gpt2 --gpu v100-32g
same 0 llama3-8b --cluster 8xdgx-h100 --tp 4 --pp 2 --vpp 2 --zero 1 --sequence-parallel \
  --recompute selective --grad-dtype fp32 --offload optimizer=cpu --network 12345678901 \
  --algorithm tree --train last:2
same 0 roberta-base --gpu v100-32g --gpus 8 --precision fp32 \
  --peft lora:r=8,alpha=32,targets=query+value,rank.query=4,save=classifier
same 0 bert-base --gpu-memory 24GiB --forward-only --seq 384
same 1 7.5B --gpu-memory 20GiB --gpu h100-80g --zero 2 --gpus 4
same 0 gpt2 --gpu v100-32g --grad-dtype bf16
same 0 gpt2 --gpu h100-80g --weight-dtype fp32 --peft adapter-drop:m=16,drop=3
same 0 gpt2 --gpu v100-32g --gpus 4 --data-parallel data-parallel --optimizer sgd-momentum
same 0 gpt2 --gpu v100-32g --gpus 4 --pp 4 --schedule gpipe --global-batch 16 --activations zero
same 0 gpt2 --gpu h100-80g --gpus 8 --cp 2 --attention flash --host-memory 1TB
same 0 llama3.2-1b --gpu h100-80g --framework pytorch --optimizer-impl fused --bucket-size 1MiB \
  --seq 512
same 0 llama3.2-1b --gpu h100-80g --gpus 2 --framework huggingface --seq 512 --clip false \
  --bucket-view --keep-outputs --padding-mask --torch-version 2.9.1
same 0 llama3.2-1b --gpu h100-80g --gpus 8 --framework fsdp2 --seq 512 --reduce-dtype fp32 \
  --reshard-after-forward auto --gradient-sync last
same 0 llama3.2-1b --gpu h100-80g --gpus 8 --framework fsdp2 --seq 512 --offload cpu
same 0 llama3.2-1b --gpu h100-80g --gpus 8 --framework fsdp2 --seq 512 --dp-replicate 2 \
  --precision bf16 --peft lora --quantization nf4-dq --quant-storage bf16
same 0 llama3.2-1b --gpu h100-80g --gpus 8 --framework fsdp2 --seq 512 --peft lora
same 0 llama3.2-1b --gpu h100-80g --gpus 8 --framework fsdp1 --seq 512 --use-orig-params \
  --sharding-strategy shard-grad-op --backward-prefetch post --forward-prefetch
same 0 llama3.2-1b --gpu h100-80g --gpus 8 --framework fsdp1 --seq 512 --wrap-policy none
same 0 llama3.2-1b --gpu v100-32g --framework pytorch --seq 512 --weight-dtype fp32
same 0 llama3.1-8b --gpu h100-80g --gpus 8 --framework torchtitan --seq 512 --recompute full \
  --recompute-every 2
same 0 llama3.2-1b --gpu h100-80g --gpus 2 --framework megatron --seq 512 --tp 2 --peft bridge-lora:r=16
# Every setting of PEFT comes back.
while read -r peft; do
  same 0 llama3.2-1b --gpu h100-80g --framework huggingface --seq 512 --peft "$peft"
done <<'PEFT'
lora:r=4,alpha=8,dropout=0.1,targets=q_proj,exclude=v_proj,layers=0+2,layers_pattern=layers,bias=all,use_dora
oft:r=0,oft_block_size=16,use_cayley_neumann=no,targets=q_proj+v_proj
ia3:targets=k_proj+down_proj,feedforward=down_proj
prefix-tuning:num_virtual_tokens=20
p-tuning:num_virtual_tokens=20,encoder_hidden_size=128
glora:r=4,config_A_B=vector,targets=q_proj
tinylora:weight_tying=0.5,targets=q_proj
vblora:topk=3,targets=q_proj
PEFT

# A file of one's own, and what wins over it.
cat >"$scratch/job.json" <<'JSON'
{"model": "gpt2", "gpu": "v100-32g", "gpus": 4, "precision": "mixed-fp16", "grad_dtype": "fp32"}
JSON
expect 0 fit --request "$scratch/job.json" --explain
expect_out "gpt2 on 4 × v100-32g"
expect_out "grad_dtype         fp32"
expect_out "job.json"
expect 0 fit gpt2-medium --request "$scratch/job.json" --gpu a100-80g --precision bf16 --explain
expect_out "gpt2-medium on 4 × a100-80g"
expect_out "grad_dtype         bf16         precision bf16"
expect 0 fit --request "$scratch/job.json" --cluster dgx-h100
expect_out "gpt2 on 8 × h100-80g"
expect 0 fit --request "$scratch/job.json" --seq 128,256
expect_out "--seq"
# A report says gpus and dp; dp follows where the command line divides the GPUs anew.
expect 0 fit gpt2 --gpu v100-32g --gpus 4 --json --output "$scratch/report.json"
expect 0 fit --request "$scratch/report.json" --tp 2 --get /request/dp
checks=$((checks + 1))
[[ $out == 2 ]] || complain "dp does not follow"
expect 0 fit --request "$scratch/report.json" --dp 2
expect_out "gpt2 on 2 × v100-32g"

bad() {  # TEXT JSON
  printf '%s' "$2" >"$scratch/bad.json"
  expect 2 fit gpt2 --gpu v100-32g --request "$scratch/bad.json"
  expect_err "$1"
}
bad "bad.json: /micro_batches: unknown setting; did you mean 'micro_batch'?" '{"micro_batches": 2}'
bad "bad.json: /tp" '{"tp": 1.5}'
bad "bad.json: /tp" '{"tp": true}'
bad "bad.json: /tp" '{"tp": [1, 2]}'
bad "bad.json: /tp" '{"tp": -1}'
bad "/sequence_parallel" '{"sequence_parallel": 1}'
bad "/optimizer: 'adm' is not a known name" '{"optimizer": "adm"}'
bad "/request/tp: 0 is too small" '{"request": {"tp": 0}}'
bad "/peft/kind: 'lra'" '{"peft": {"kind": "lra"}}'
bad "/peft" '{"peft": {"kind": "lora", "rnk": 4}}'
bad "list of jobs" '{"reports": []}'
bad "not JSON" 'tp=2'
expect 2 fit --request "$scratch/none.json"
expect_err "no such file"
expect 2 fit --request "$scratch"
expect_err "is a folder"

# The script that arguments belong to is part of them.
common='--hidden-size 768 --num-attention-heads 12 --seq-length 512 --max-position-embeddings 512 --micro-batch-size 4 --bf16'
launch() { echo "torchrun --nproc_per_node 2 $1 $2 $common" >"$scratch/${1%.py}.sh"; }
launch pretrain_t5.py '--num-layers 4 --decoder-seq-length 128 --vocab-size 29000'
launch pretrain_mamba.py '--num-layers 4'
launch pretrain_hybrid.py "--hybrid-layer-pattern 'M-|*M' --pipeline-model-parallel-size 2"
launch pretrain_gpt.py '--num-layers 4 --fp8-format hybrid --fp8-param-gather --use-distributed-optimizer'
for script in t5 mamba hybrid gpt; do
  same 0 --megatron-args "$scratch/pretrain_$script.sh" --gpu h100-80g
done

finish
