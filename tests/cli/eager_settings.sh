#!/usr/bin/env bash
# What PyTorch jobs alone are told apart by: options, their defaults, and who refuses them.
source "$(dirname "$0")/../expect.sh"

job=(fit gpt2 --gpu a100-80g)

# The textbook framework does not know them, and says what would.
for option in "--optimizer-impl fused" --optimizer-in-backward "--galore-rank 64" "--clip true" --padding-mask \
  "--loss liger" "--kernels liger" --keep-outputs "--quantization nf4" "--compute-dtype bf16" "--prepare-kbit false" \
  --packed --offload-activations --compile --bucket-view "--bucket-size 1MiB" \
  "--torch-version 2.9" "--transformers-version 4.57.1" "--attention sdpa"; do
  # shellcheck disable=SC2086
  expect 4 "${job[@]}" $option
  expect_err "framework textbook does not tell this apart; add --framework pytorch"
done

# Slips.
expect 2 "${job[@]}" --optimizer-impl fuse
expect_err "did you mean 'fused'?"
expect 2 "${job[@]}" --quantization nf5
expect_err "--quantization: 'nf5' is not a known name"
expect 2 "${job[@]}" --quantization int8-dq
expect_err "'int8-dq'"
expect 2 "${job[@]}" --framework huggingface --compute-dtype fp8
expect_err "--compute-dtype: bitsandbytes does not multiply in fp8"
expect 2 "${job[@]}" --framework huggingface --quantization nf4
expect_err "--quantization: quantized weights cannot be trained"
expect 2 "${job[@]}" --clip maybe
expect_err "write --clip true or --clip false"
expect 2 "${job[@]}" --bucket-size 0
expect_err "a bucket holds something"
expect 2 "${job[@]}" --torch-version two
expect_err "'two' is not a version"
expect 2 "${job[@]}" --framework pytorch --loss-chunks 4
expect_err "belongs to losses whose chunks can be chosen"

# What belongs to fully_shard.
expect 2 "${job[@]}" --framework huggingface --reduce-dtype fp32
expect_err "--reduce-dtype: belongs to FSDP, which framework huggingface does not use"
expect 2 "${job[@]}" --framework fsdp2 --gpus 8 --reshard-after-forward 3
expect_err "3 is no factor of the 8 GPUs that share a parameter"
expect 2 "${job[@]}" --framework fsdp2 --gpus 8 --dp-replicate 3
expect_err "3 is no factor of dp 8"
expect 2 "${job[@]}" --framework fsdp2 --gpus 8 --dp-replicate 2 --reshard-after-forward 8
expect_err "8 is no factor of the 4 GPUs that share a parameter"
expect 2 "${job[@]}" --framework fsdp2 --gpus 8 --quant-storage bf16
expect_err "no weight is quantized"
expect 4 "${job[@]}" --framework fsdp2 --gpus 8 --peft lora --quantization int8
expect_err "does not take bitsandbytes' Int8Params"
expect 2 "${job[@]}" --framework fsdp2 --gpus 8 --reshard-after-forward maybe
expect_err "'maybe' is not a whole number"
expect 4 "${job[@]}" --framework fsdp2 --gpus 8 --offload optimizer
expect_err "moves parameters, gradients and optimizer to the host together"
expect 4 "${job[@]}" --framework fsdp2 --gpus 8 --optimizer adafactor
expect_err "what it keeps of a share"

# What belongs to FullyShardedDataParallel.
expect 2 "${job[@]}" --framework fsdp2 --gpus 8 --use-orig-params
expect_err "belongs to FullyShardedDataParallel, which framework fsdp2 does not use"
expect 2 "${job[@]}" --framework fsdp1 --gpus 8 --sharding-strategy half
expect_err "write one of full-shard, shard-grad-op, no-shard"
expect 2 "${job[@]}" --framework fsdp1 --gpus 8 --reshard-after-forward false
expect_err "says it by its sharding strategy"
expect 2 "${job[@]}" --framework fsdp1 --gpus 8 --dp-replicate 2 --sharding-strategy no-shard
expect_err "copies over one GPU each are not sharded"
expect 4 "${job[@]}" --framework fsdp1 --gpus 8 --peft lora
expect_err "flat parameters that are trained in part are not modelled"
expect 4 "${job[@]}" --framework fsdp1 --gpus 8 --wrap-policy size
expect_err "units by their number of parameters are not modelled"

# A report of the textbook framework names none of them.
expect 0 "${job[@]}" --json
checks=$((checks + 1))
[[ $out != *torch_version* ]] || complain "a textbook request speaks of torch"

# torchtitan's alone.
for option in "--torchtitan-version 0.2.2" "--recompute-every 2"; do
  # shellcheck disable=SC2086
  expect 2 "${job[@]}" --framework huggingface $option
  expect_err "belongs to --framework torchtitan"
done
titan=(fit llama3.1-8b --framework torchtitan --cluster 1xdgx-h100 --seq 1024)
expect 0 "${titan[@]}" --recompute full --recompute-every 2 --json
expect_out '"recompute_every": 2'
expect 2 "${titan[@]}" --recompute-every 2
expect_err "no layer is checkpointed"
expect 4 "${titan[@]}" --torchtitan-version 0.1.0
expect_err "torchtitan before 0.2.2 is not modelled"
expect 4 "${titan[@]}" --compile
expect_err "torch.compile of a module that fully_shard has wrapped is not modelled"

finish
