#!/usr/bin/env bash
# Wrong command lines: exit codes, and messages that say what to do.
source "$(dirname "$0")/../expect.sh"

refuses() {  # CODE TEXT ARGUMENTS…: fails with this code, tells this, and prints no answer
  local code=$1 text=$2
  shift 2
  expect "$code" "$@"
  expect_err "memplan: error: "
  expect_err "$text"
  checks=$((checks + 1))
  [[ -z $out ]] || complain "an error printed to stdout"
}
fit() {  # CODE TEXT OPTIONS…: of a fit that is right but for these
  local code=$1 text=$2
  shift 2
  refuses "$code" "$text" fit llama3-8b --gpu a100-80g "$@"
}

# Commands.
refuses 2 "did you mean 'fit'?" fti llama3-8b
refuses 2 "valid: fit, compare, show" frobnicate
refuses 2 "a command comes first" --gpu h100-80g
for later in plan simulate; do
  refuses 4 "\`memplan $later\` is not available yet" "$later" x
done

# Models and GPUs.
refuses 2 "no MODEL is named" fit
refuses 2 "no MODEL is named" fit "" --gpu a100-80g
refuses 2 "no GPU is named" fit llama3-8b
refuses 2 "did you mean 'llama3-8b'?" fit lama3-8b --gpu a100-80g
refuses 2 "no such file" fit ./none.json --gpu a100-80g
refuses 2 "is not JSON" fit /etc/passwd --gpu a100-80g
refuses 2 "did you mean 'h100-80g'?" fit llama3-8b --gpu h10-80g
refuses 2 "--gpu-memory 24GiB" fit llama3-8b --gpu nothing-like-it
refuses 2 "names more than one GPU" fit llama3-8b --gpu a100
refuses 2 "did you mean 'dgx-h100'?" fit llama3-8b --cluster 8xdgx-h10
refuses 2 "contradicts --cluster" fit llama3-8b --cluster 8xdgx-h100 --gpus 8
refuses 2 "contradicts --cluster" fit llama3-8b --cluster 8xdgx-h100 --gpu a100-80g

# Sizes.
refuses 2 "'lots' is not a size" fit llama3-8b --gpu-memory lots
refuses 2 "out of range" fit llama3-8b --gpu-memory -3GiB
refuses 2 "is no memory of a GPU" fit llama3-8b --gpu-memory 0
refuses 2 "with its unit" fit llama3-8b --gpu-memory 24
fit 2 "is not a size" --network 400Gbit

# Routing.
moe=(fit mixtral-8x7b --gpu h100-80g --gpus 64)
refuses 2 "--expert-imbalance: 'x' is no number" "${moe[@]}" --ep 8 --expert-imbalance x
refuses 2 "--expert-imbalance: '' is no number" "${moe[@]}" --ep 8 --expert-imbalance ""
refuses 2 "'1e999' is no number" "${moe[@]}" --ep 8 --expert-imbalance 1e999
for factor in 0.99 -1 nan inf 4.01; do
  refuses 2 "give 1 to 4: a token goes to 2 of 8 experts, 1 to a rank" "${moe[@]}" --ep 8 --expert-imbalance $factor
done
refuses 2 "every GPU holds all experts" "${moe[@]}" --expert-imbalance 2
fit 2 "--expert-imbalance: the model has no experts" --expert-imbalance 2

# Counts.
for option in --tp --pp --vpp --cp --ep --dp --gpus --gpus-per-node --micro-batch --global-batch --seq; do
  fit 2 "$option: '8.5' is not a whole number" $option 8.5
  fit 2 "$option: '1e3' is not a whole number" $option 1e3
  fit 2 "$option: 'x' is not a whole number" $option x
  fit 2 "$option: -1 is too small" $option -1
  fit 2 "$option: 0 is too small" $option 0
  fit 2 "$option: 99999999999999999999 is too large" $option 99999999999999999999
  fit 2 "$option: 1099511627777 is too large" $option 1099511627777
  fit 2 "$option: the value is empty" $option ""
done
fit 2 "--zero: '4' is no ZeRO stage" --zero 4
fit 2 "--zero: 'three' is not a whole number" --zero three
fit 2 "does not fit 63 bits" --micro-batch 1000000000000 --seq 1000000000000

# Strategies that cannot be.
fit 2 "nearest that does: 2" --tp 3
fit 2 "nearest: --gpus 6" --gpus 7 --tp 2
fit 2 "nearest: --dp 8" --gpus 8 --dp 2
fit 2 "give 1 to 32" --train last:99

refuses 2 "give at most 4096" fit 7.5B --gpu a100-80g --pp 1000000

# Names.
fit 2 "did you mean 'adamw'?" --optimizer adamv
fit 2 "valid: naive, gpipe, 1f1b, pipedream" --schedule zb
fit 2 "did you mean 'selective'?" --recompute selectiv
fit 2 "did you mean 'flash'?" --attention flsh
fit 2 "did you mean 'korthikanti'?" --activations kortikanti
fit 2 "did you mean 'ddp'?" --data-parallel dpp
fit 2 "valid: ring, tree" --algorithm star
fit 2 "did you mean 'mixed-bf16'?" --precision mixed-bf15
fit 4 "'fp8' is not modelled" --precision fp8
fit 2 "did you mean 'megatron'?" --framework megatrn
fit 4 "modules of DoRA" --framework deepspeed --zero 3 --peft lora:use_dora=yes
refuses 4 "the modules of gpt2" fit gpt2 --gpu a100-80g --framework deepspeed --zero 3
fit 4 "ZeRO-Offload" --framework deepspeed --zero 2 --offload cpu
fit 4 "BF16_Optimizer" --framework deepspeed --zero 2 --grad-dtype fp32
fit 2 "belongs to DeepSpeed" --reduce-bucket-size 1000
fit 2 "--reduce-bucket-size" --framework deepspeed --zero 2 --reduce-bucket-size 5e8
fit 2 "--weight-dtype" --weight-dtype int8
fit 2 "write all, last:2" --train half
fit 2 "did you mean 'lora'?" --peft lroa
fit 2 "from 1 to" --peft lora:r=0
fit 2 "write optimizer, cpu, nvme" --offload everything
fit 2 "nothing is called 'weights'" --offload weights=cpu
fit 2 "did you mean 'cpu'?" --offload optimizer=cpi
fit 2 "is given twice" --offload optimizer=cpu,optimizer=nvme
fit 2 "add --zero 3" --offload parameters=cpu

# Options.
fit 2 "unknown option --tpp; did you mean --tp?" --tpp 2
fit 2 "did you mean --micro-batch?" --batch 2
fit 2 "did you mean --tp?" -tp 2
fit 2 "--help lists the options" --zzzzzzzz
fit 2 "--tp: its value is missing" --tp
fit 2 "--tp: is given twice" --tp 2 --tp 4
fit 2 "--json: is given twice" --json --json
fit 2 "--json: takes no value" --json=perhaps
fit 2 "unexpected word '2'" --tp 1, 2
fit 2 "unexpected word 'true'" --sequence-parallel true
fit 2 "did you mean 'never'?" --color nevr
fit 2 "no such file" --deepspeed ds.json
fit 2 "no such file" --fsdp fsdp.yaml
refuses 2 "no such file" fit --gpu a100-80g --megatron-args none.txt
fit 2 "leave the model's name away" -- --tensor-model-parallel-size 2
refuses 2 "nothing may stand behind --" show gpus -- --bf16

# What is shown.
refuses 2 "did you mean 'models'?" show modles
refuses 2 "did you mean 'adamw'?" show optimizers adamv
refuses 2 "did you mean 'llama3-8b'?" show models lama3-8b
refuses 2 "is a bare size" show models 7B
refuses 2 "unexpected word 'x'" show gpus h100-80g x

# Control characters of an argument do not reach the terminal.
refuses 2 '\x1b[31m' fit $'\x1b[31mevil' --gpu a100-80g
checks=$((checks + 1))
[[ $err != *$'\x1b'* ]] || complain "an escape reached stderr"

finish
