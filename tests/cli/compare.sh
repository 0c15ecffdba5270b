#!/usr/bin/env bash
# memplan compare: two reports, a list of two, other ranks, and what is no report.
source "$(dirname "$0")/../expect.sh"

job=(fit llama3-8b --gpu h100-80g --gpus 8 --attention flash --recompute full)
expect 0 "${job[@]}" --zero 2 --json --output "$scratch/two.json"
expect 0 "${job[@]}" --zero 3 --json --output "$scratch/three.json"

# ZeRO-3 keeps an eighth of the weights: 16,060,522,496 bytes become 2,007,565,312.
expect 0 compare "$scratch/two.json" "$scratch/three.json"
expect_out "zero"
expect_out "14.96 GiB"
expect_out "B needs"
expect 0 compare "$scratch/two.json" "$scratch/three.json" --json
expect_out '"key": "zero"'
expect_out '"a": 16060522496,'
expect_out '"b": 2007565312,'
expect_out '"difference": -14052957184'
expect 0 compare "$scratch/two.json" "$scratch/two.json"
expect_out "A and B need the same."
expect_out "No setting differs."

# A list of two stands for both.
expect 0 "${job[@]}" --zero 2,3 --json --output "$scratch/list.json"
expect 0 compare "$scratch/list.json"
expect_out "--zero 2"
expect 0 "${job[@]}" --zero 1,2,3 --json --output "$scratch/three_jobs.json"
expect 2 compare "$scratch/three_jobs.json"
expect_err "/reports: answers for 3 jobs; two are compared"

# Frameworks, and a rank of one's choice.
expect 0 fit gpt2 --framework huggingface --gpu rtx-4090 --json --output "$scratch/eager.json"
expect 0 compare "$scratch/two.json" "$scratch/eager.json"
expect_out "huggingface"
expect 0 fit gpt2 --gpu a100-80g --gpus 4 --pp 4 --json --output "$scratch/stages.json"
expect 0 compare "$scratch/stages.json" "$scratch/stages.json" --rank 3
expect_out "3, stage 3"
expect 2 compare "$scratch/stages.json" "$scratch/stages.json" --rank 4
expect_err "/ranks: there is no rank 4; ranks are 0 to 3"

# Bad usage and bad input.
expect 2 compare
expect_err "no report is named"
expect 2 compare "$scratch/two.json"
expect_err "one report has nothing to be compared with"
expect 2 compare "$scratch/list.json" "$scratch/two.json"
expect_err "more than two reports"
expect 2 compare "$scratch/two.json" "$scratch/none.json"
expect_err "no such file"
expect 2 compare "$scratch/two.json" "$scratch/three.json" --rnak 1
expect_err "--rank"
echo '{"model": "gpt2"}' >"$scratch/request.json"
expect 2 compare "$scratch/two.json" "$scratch/request.json"
expect_err "request.json: is no report of memplan; write one: memplan fit"
sed 's/"schema_version": 1/"schema_version": 7/' "$scratch/two.json" >"$scratch/later.json"
expect 2 compare "$scratch/two.json" "$scratch/later.json"
expect_err "/schema_version: is not 1"
sed 's/"risk": "[a-z ]*"/"risk": "fit"/' "$scratch/two.json" >"$scratch/risk.json"
expect 2 compare "$scratch/risk.json" "$scratch/two.json"
expect_err "/verdict/risk"
sed 's/"weights": [0-9]*/"weights": -1/' "$scratch/two.json" >"$scratch/negative.json"
expect 2 compare "$scratch/two.json" "$scratch/negative.json"
expect_err "/ranks/0/memory/weights"
expect 0 "${job[@]}" --zero 2 --tp 1,3 --json --output "$scratch/refused.json"
expect 2 compare "$scratch/refused.json"
expect_err "/reports/1/error: this job was refused"

finish
