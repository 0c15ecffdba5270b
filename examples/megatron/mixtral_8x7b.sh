#!/bin/bash
# Mixtral 8x7B, expert parallelism 8
export CUDA_DEVICE_MAX_CONNECTIONS=1
WORLD_SIZE=$(($GPUS_PER_NODE*$NNODES))
NNODES=${NNODES:-"1"}
MODEL_ARGS=" \
    --seq-length 4096 --max-position-embeddings 32768 \
    --num-layers 32 --hidden-size 4096 --ffn-hidden-size 14336 \
    --num-attention-heads 32 --init-method-std 0.01 \
    --attention-dropout 0.0 --hidden-dropout 0.0 \
    --normalization RMSNorm --position-embedding-type rope --swiglu \
    --untie-embeddings-and-output-weights \
    --group-query-attention --num-query-groups 8 --disable-bias-linear \
"
MOE_ARGS="--num-experts 8 --moe-router-topk 2 \
  --moe-router-load-balancing-type aux_loss --moe-aux-loss-coeff 1e-2 \
  --moe-grouped-gemm --moe-token-dispatcher-type alltoall --overlap-param-gather \
  --overlap-grad-reduce"
TRAINING="--micro-batch-size 1 --global-batch-size 256 --lr 1e-4 --bf16"
PARALLEL="--tensor-model-parallel-size 1 --expert-model-parallel-size 8 --use-distributed-optimizer"
options=" $MODEL_ARGS $MOE_ARGS $TRAINING $PARALLEL --tokenizer-type Llama2Tokenizer --vocab-size 32000"
run_cmd="python -u /opt/megatron/pretrain_gpt.py ${options}"
if [ -n "${DRY_RUN}" ]; then
  echo "${run_cmd}"
else
  srun --nodes=2 --ntasks-per-node=8 -l --container-image "$IMAGE" bash -c "${run_cmd}" \
    > log.txt 2>&1
fi
