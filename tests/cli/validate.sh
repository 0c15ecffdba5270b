#!/usr/bin/env bash
# memplan validate: the three forms of lines, the error table, bounds and malformed input.
source "$(dirname "$0")/../expect.sh"

traces=$source_dir/tests/reference/torch_traces.jsonl
published=$source_dir/tests/reference/published.jsonl

# A user's own measurement: what memplan says of the job, and one byte more.
expect 0 fit gpt2 --gpu a100-80g --json --output "$scratch/report.json"
expect 0 fit gpt2 --gpu a100-80g --get /ranks/0/memory/allocated
allocated=$out
own() { # MEASURED: a line on stdout
  printf '{"id": "own", "request": %s, "measured": %s}\n' \
    '{"model": "gpt2", "gpu": "a100-80g"}' "$1"
}
own "{\"allocated\": $allocated}" >"$scratch/right.jsonl"
own "{\"allocated\": $((allocated + 1)), \"step_ms\": 2.5}" >"$scratch/wrong.jsonl"

expect 0 validate "$scratch/right.jsonl" --bound 'allocated:exact=100%'
expect_out "allocated      1        0   0 %"
expect 1 validate "$scratch/wrong.jsonl" --bound 'allocated:exact=100%'
expect_err "bound exceeded: allocated:exact=100%"
expect_out "figure step_ms is not predicted yet"
expect 0 validate "$scratch/wrong.jsonl" --bound 'alloc*:max=1%' --bound 'request@allocated:bias=0.01'
expect 1 validate "$scratch/wrong.jsonl" --bound 'alloc*:max=1%' --bound 'allocated:max=0'
expect_err "allocated:max=0: max of allocated"
expect 1 validate "$scratch/right.jsonl" --bound 'reserved:max=1%'
expect_err "no case has such a figure"
expect 1 validate "$scratch/wrong.jsonl" --bound 'step_ms:max=1%' --quiet
expect_err "has no answered case"

# Forms of output.
expect 0 validate "$scratch/wrong.jsonl" "$scratch/right.jsonl" --cases
expect_out "own   allocated"
expect 0 validate "$scratch/wrong.jsonl" --markdown
expect_out "| request | allocated | 1 | 0 |"
expect 0 validate "$scratch/right.jsonl" --json
expect_out '"figure": "allocated"'
expect_out '"error": 0.0'

# The reference files are read whole; what is refused has a reason by name.
expect 0 validate "$traces" --json
expect_out '"source": "trace cpu"'
expect 0 validate "$traces"
expect 0 validate "$published" --bound 'huggingface/peft@*_params:exact=100%' \
  --bound 'Lightning-AI/litgpt@trainable_params:exact=100%' \
  --bound 'pytorch/torchtune@active:median=5%' --bound '*LOMO*@activations:max=5%' \
  --bound 'pytorch/torchtitan/pull/165@active:median=5%' \
  --bound 'NVIDIA/Megatron-LM@last_rank.after_step:median=1%' \
  --bound 'NVIDIA/Megatron-LM@last_rank.allocated:median=2%' \
  --bound 'NVIDIA/Megatron-LM@last_rank.allocated:p95=6%' \
  --bound 'MooreThreads/SimuMax@rank.allocated:mean=0.1%' \
  --bound 'MooreThreads/SimuMax@rank.allocated:max=0.3%' \
  --bound 'MooreThreads/SimuMax@rank.allocated:bias=0.1%'
expect_out "framework megatron-deepspeed is not modelled yet"
expect_out "the record does not say the sequence length"
# T5's rows hold more between steps than is known; the others are bounded without them.
grep -v '"id": "mlm-t5-' "$published" >"$scratch/gpt.jsonl"
expect 0 validate "$scratch/gpt.jsonl" --bound 'NVIDIA/Megatron-LM@last_rank.after_step:p95=2.5%'
# Hybrid models: the two rows of an A100 that are the H100's figures lack its larger workspaces.
grep '"id": "mlm-hybrid-' "$published" >"$scratch/hybrid.jsonl"
expect 0 validate "$scratch/hybrid.jsonl" --bound 'NVIDIA/Megatron-LM@last_rank.after_step:max=1.7%' \
  --bound 'NVIDIA/Megatron-LM@last_rank.after_step:median=0.1%' \
  --bound 'NVIDIA/Megatron-LM@last_rank.allocated:max=0.9%' \
  --bound 'NVIDIA/Megatron-LM@last_rank.allocated:median=0.06%'
expect_out "set aside: the source's values are a copy of a GPT model's"
# Muon dealt out layer by layer; its peak stays above the even routing that is assumed.
grep '"id": "mlm-[^"]*-muon-' "$published" >"$scratch/muon.jsonl"
expect 0 validate "$scratch/muon.jsonl" --bound 'NVIDIA/Megatron-LM@last_rank.after_step:max=0.25%' \
  --bound 'NVIDIA/Megatron-LM@last_rank.allocated:max=4.6%'
# Megatron-FSDP. Experts of the measured ranks have more tokens than routed evenly; an A100's row
# of an early 0.16.0rc0 holds 27 MB more between steps than its source explains.
grep '"--use-megatron-fsdp"' "$published" >"$scratch/fsdp.jsonl"
expect 0 validate "$scratch/fsdp.jsonl" --bound 'NVIDIA/Megatron-LM@last_rank.after_step:median=0.1%' \
  --bound 'NVIDIA/Megatron-LM@last_rank.after_step:max=4.2%' \
  --bound 'NVIDIA/Megatron-LM@last_rank.allocated:median=3.8%' \
  --bound 'NVIDIA/Megatron-LM@last_rank.allocated:max=5.7%'
expect_out "what loading a checkpoint of Megatron-FSDP leaves behind is not modelled"
grep 'native-fp8-tp' "$published" >"$scratch/fp8.jsonl"
expect 0 validate "$scratch/fp8.jsonl" --bound 'NVIDIA/Megatron-LM@last_rank.after_step:max=0.5%' \
  --bound 'NVIDIA/Megatron-LM@last_rank.allocated:max=4.1%' \
  --bound 'NVIDIA/Megatron-LM@last_rank.allocated:median=0.75%'

# Malformed input.
expect 2 validate
expect_err "no FILE is named"
expect 2 validate "$scratch/none.jsonl"
expect_err "no such file"
head -c 700 "$traces" >"$scratch/cut.jsonl"
expect 2 validate "$scratch/cut.jsonl"
expect_err "cut.jsonl:1: line 1"
{ cat "$scratch/right.jsonl"; echo '{"neither": "form"}'; } >"$scratch/odd.jsonl"
expect 2 validate "$scratch/odd.jsonl"
expect_err "odd.jsonl:2: is no measured case"
own '{"allocated": "much"}' >"$scratch/text.jsonl"
expect 2 validate "$scratch/text.jsonl"
expect_err "text.jsonl:1: /measured/allocated: must be a whole number"
sed 's/"gpt2"/"gpt3000"/' "$scratch/right.jsonl" >"$scratch/model.jsonl"
expect 2 validate "$scratch/model.jsonl"
expect_err "'gpt3000' is no preset"
sed 's/"gpu":/"gpo":/' "$scratch/right.jsonl" >"$scratch/key.jsonl"
expect 2 validate "$scratch/key.jsonl"
expect_err "key.jsonl:1: /request/gpo: unknown setting"
sed 's/, "gpu": "a100-80g"//' "$scratch/right.jsonl" >"$scratch/gpu.jsonl"
expect 2 validate "$scratch/gpu.jsonl"
expect_err "gpu.jsonl:1: /request: --gpu: no GPU is named"
head -1 "$traces" | sed 's/"hidden_size": 4096/"hidden_size": "wide"/' >"$scratch/config.jsonl"
expect 2 validate "$scratch/config.jsonl"
expect_err "config.jsonl:1: /case/config/hidden_size"
for bound in x 'a:max' ':max=1' 'a:max=' 'a:max=-1' 'a:largest=1%' 'a:within=1%'; do
  expect 2 validate "$scratch/right.jsonl" --bound "$bound"
  expect_err "--bound"
done

finish
