#!/usr/bin/env bash
# Adapters (Houlsby et al., arXiv 1902.00751) and LoRA (Hu et al., arXiv 2106.09685): trainable
# parameters, and the memory LoRA saves.
# shellcheck source=examples/papers/lib.bash
source "$(dirname "${BASH_SOURCE[0]}")/lib.bash"
title "Adapters (arXiv 1902.00751) and LoRA (arXiv 2106.09685)"

card=(--gpu a100-80g)
trainable() { get /trainable "$1" "${card[@]}" --peft "$2"; }
millions() { calc "($1) / 1e6"; }

section "An adapter: 2md + d + m parameters, twice a layer (1902.00751, section 2.1)"
for shape in "bert-base 12 768 64" "bert-large 24 1024 8"; do
  read -r name layers d m <<<"$shape"
  row "$name, m = $m" $((2 * layers * (2 * m * d + d + m))) "$(trainable "$name" "houlsby:m=$m")"
done

section "Adapter rows of the LoRA paper (tables 2 to 4): millions of parameters, and the bottleneck they imply"
# adapter_row LABEL PRINTED MODEL KIND[:options]: the paper prints no m. Parameters grow linearly in m,
# so two runs give the nearest; a third says how many parameters that m has.
adapter_row() {
  local label=$1 printed=$2 model=$3 kind=$4 at1 at2 m ours join=":"
  [[ $kind == *:* ]] && join=,
  at1=$(trainable "$model" "$kind${join}m=1")
  at2=$(trainable "$model" "$kind${join}m=2")
  m=$(awk -v p="$printed" -v a="$at1" -v b="$at2" 'BEGIN { m = int((p * 1e6 - a) / (b - a) + 1.5); print m < 1 ? 1 : m }')
  ours=$(millions "$(trainable "$model" "$kind${join}m=$m")")
  row "$label: m = $m" "$printed" "$ours" \
    "residual $(printf %+.4f "$(calc "$ours - $printed")"); one more of m is $(printf %.4f "$(millions $((at2 - at1)))")"
}
row "GPT-3, Adapter-H, m = 1" 7.08 "$(millions "$(trainable gpt3-175b houlsby:m=1)")" "printed as 7.1 in table 4"
row "GPT-3, Adapter-H, m = 8" 40.1 "$(millions "$(trainable gpt3-175b houlsby:m=8)")"
adapter_row "RoBERTa-base, Adapter-D on all layers" 0.3 roberta-base adapter-drop
adapter_row "RoBERTa-base, Adapter-D on all layers" 0.9 roberta-base adapter-drop
adapter_row "... without the first 5" 0.3 roberta-base adapter-drop:drop=5
adapter_row "... without the first 5" 0.9 roberta-base adapter-drop:drop=5
adapter_row "RoBERTa-large, Adapter-P" 3.0 roberta-large pfeiffer
adapter_row "RoBERTa-large, Adapter-P" 0.8 roberta-large pfeiffer
adapter_row "RoBERTa-large, Adapter-H" 6.0 roberta-large houlsby
adapter_row "RoBERTa-large, Adapter-H" 0.8 roberta-large houlsby
adapter_row "GPT-2 M, Adapter-L" 0.37 gpt2-medium lin
adapter_row "GPT-2 M, Adapter-L" 11.09 gpt2-medium lin
adapter_row "GPT-2 M, Adapter-H" 11.09 gpt2-medium houlsby
adapter_row "GPT-2 L, Adapter-L" 0.88 gpt2-large lin
adapter_row "GPT-2 L, Adapter-L" 23.00 gpt2-large lin

section "LoRA (tables 2 to 4)"
lora() { row "$1" "$2" "$(trainable "$3" "$4")" "${5:-}"; }
lora "RoBERTa-base, q and v, r = 8" 294912 roberta-base lora:r=8,targets=query+value "printed as 0.3M"
lora "RoBERTa-large, q and v, r = 8" 786432 roberta-large lora:r=8,targets=query+value "printed as 0.8M"
row "DeBERTa-XXL, q and v, r = 16, millions" 4.7 "$(millions "$(trainable deberta-v2-xxlarge lora:r=16,targets=query_proj+value_proj)")"
row "GPT-3, q and v, r = 1, millions" 4.7 "$(millions "$(trainable gpt3-175b lora:r=1,targets=c_attn)")"
row "GPT-3, q and v, r = 8, millions" 37.7 "$(millions "$(trainable gpt3-175b lora:r=8,targets=c_attn)")"
lora "GPT-2 M, q and v, r = 4: 2 L d r with L = 48" 393216 gpt2-medium lora:r=4,targets=c_attn "the paper's own formula"
lora "GPT-2 L, q and v, r = 4: 2 L d r with L = 72" 737280 gpt2-large lora:r=4,targets=c_attn "the paper's own formula"
note "GPT-2's c_attn is q, k and v in one [d, 3d]: r (d + 3d) parameters beside it, as many as beside q and v alone."
for size in "medium 0.35" "large 0.77"; do
  read -r name printed <<<"$size"
  row "GPT-2 $name, as printed in table 3, millions" "$printed" "$(millions "$(trainable "gpt2-$name" lora:r=4,targets=c_attn)")" \
    "no count: r = 3 gives $(two "$(millions "$(trainable "gpt2-$name" lora:r=3,targets=c_attn)")"); 0.1 % of the model is $(two "$(millions "$(get /parameters "gpt2-$name" "${card[@]}") / 1000")"), as in the same table's rows of prefix tuning"
done

section "Rows without an adapter, in millions"
row "GPT-2 M, all" 354.92 "$(millions "$(get /trainable gpt2-medium "${card[@]}")")" "the published weights have 354.82: a slip of the paper, it seems"
row "GPT-2 L, all" 774.03 "$(millions "$(get /trainable gpt2-large "${card[@]}")")"
row "GPT-2 M, last two layers" 25.19 "$(millions "$(get /trainable gpt2-medium "${card[@]}" --train last:2)")"
row "GPT-3, all" 175255.8 "$(millions "$(get /trainable gpt3-175b "${card[@]}")")" \
  "GPT-3's weights are not public: the preset has table 2.1's shape and GPT-2's vocabulary and tied head"
row "GPT-3, biases (BitFit)" 14.2 "$(millions "$(get /trainable gpt3-175b "${card[@]}" --train bias)")" \
  "11 vectors of d a layer (q k v, out, 4 + 1 of the MLP, two norms); the paper's figure is 12"

section "LoRA's memory claim for GPT-3 (section 4.2): 1.2 TB becomes 350 GB"
states() { get /ranks/0/states/weights,/ranks/0/states/gradients,/ranks/0/states/optimizer gpt3-175b --gpu a100-80g "$@" | total; }
tb() { calc "($1) / 1e12"; }
pure=$(states --precision fp16)
row "all trained, 16 bytes a parameter (ZeRO), TB" 1.2 "$(tb "$(states --precision mixed-fp16)")" \
  "fp16 weights and gradients, fp32 master copy and moments"
row "all trained, everything in fp16, TB" 1.2 "$(tb "$pure")" "8 bytes a parameter: 1.2 TB is less than 7"
row "... and gradients freed as they come, TB" 1.2 "$(tb "$pure - $(get /ranks/0/states/gradients gpt3-175b --gpu a100-80g --precision fp16)")" \
  "6 bytes: the paper does not say what its 1.2 TB count, and its 'two thirds saved' fits this"
lora=(--precision mixed-fp16 --peft "lora:r=4,targets=c_attn")
row "LoRA, r = 4, GB" 350 "$(calc "$(states "${lora[@]}") / 1e9")" \
  "the frozen fp16 weights and $(two "$(millions "$(states "${lora[@]}") - $(get /ranks/0/states/weights gpt3-175b --gpu a100-80g "${lora[@]}")")") MB of gradients and optimizer: no activations"
row "a checkpoint of the matrices, MB" 35 "$(millions "2 * $(trainable gpt3-175b lora:r=4,targets=c_attn)")" \
  "2 bytes each; in MiB it is $(two "$(calc "2 * $(trainable gpt3-175b lora:r=4,targets=c_attn) / 1024^2")")"
