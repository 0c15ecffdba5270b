#!/usr/bin/env bash
# --get prints single values of the JSON report; show zero3 has it too.
source "$(dirname "$0")/../expect.sh"

job=(fit gpt2 --gpu h100-80g --gpus 2 --seq 1024)
expect 0 "${job[@]}" --get /parameters
[[ $out == 124439808 ]] || complain "not GPT-2's parameters"
expect 0 "${job[@]}" --get /verdict/fits,/verdict/risk,/request/gpus
[[ $out == $'true\nfits\n2' ]] || complain "not one value a line"
expect 0 "${job[@]}" --zero 1,2 --get '/reports/*/request/zero'
[[ $out == $'1\n2' ]] || complain "a star is not every report"
expect 1 fit gpt3-175b --gpu h100-80g --get /verdict/fits  # the answer's exit code stays
expect_out false
expect 2 "${job[@]}" --get /verdict/fit
expect_err "did you mean 'fits'?"
expect 2 "${job[@]}" --get parameters
expect_err "no JSON pointer"
expect 2 "${job[@]}" --get
expect_err "--get"

expect 0 show zero3
expect_out "keeps of every layer"
expect 0 show zero3 --layers 1 --params 8 --gpus 2 --get '/*/sent'
[[ $out == $'0\n4\n0\n0\n4\n0\n4\n0\n0\n0' ]] || complain "two gathers and a reduce-scatter of 8 elements"
expect 0 show zero3 --json
expect_out '"unreduced"'
expect 0 show zero3 --help
expect_out "--layers"
expect 2 show zero3 --layers 0
expect_err "--layers"
expect 2 show zero3 --gpus many
expect_err "--gpus"
expect 2 show zero3 --layer 3
expect_err "--layers"
expect 2 show zero3 --params 1099511627776 --layers 1000000
expect_err "--layers"
expect 2 show zero4
expect_err "did you mean 'zero3'?"
finish
