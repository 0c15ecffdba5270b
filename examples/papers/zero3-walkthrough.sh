#!/usr/bin/env bash
# ZeRO-3 by hand (arXiv 1910.02054, sections 5.3 and 7.2.2): three layers of four parameters, four GPUs.
# shellcheck source=examples/papers/lib.bash
source "$(dirname "${BASH_SOURCE[0]}")/lib.bash"
title "ZeRO-3, step by step: three layers a, b, c of four parameters, four GPUs (arXiv 1910.02054, section 5.3)"

stack=(--layers 3 --params 4 --gpus 4)
echo
"$MEMPLAN" show zero3 "${stack[@]}" | sed 's/^/  /'
echo
note "In elements. While a layer runs, every GPU holds the whole of it besides; afterwards only its own part again."

# held PHASE LAYER ACTION FIELD: one value of the table.
held() {
  paste -d'|' <("$MEMPLAN" show zero3 "${stack[@]}" --get '/*/phase') \
    <("$MEMPLAN" show zero3 "${stack[@]}" --get '/*/layer') <("$MEMPLAN" show zero3 "${stack[@]}" --get '/*/action') \
    <("$MEMPLAN" show zero3 "${stack[@]}" --get "/*/$4") |
    awk -F'|' -v phase="$1" -v layer="$2" -v action="$3" '$1 == phase && $2 == layer && $3 == action { print $4 }'
}

section "What one GPU holds, in elements"
row "before the step: a quarter of 12 parameters" 3 "$(held forward - before held)"
for layer in 0 1 2; do
  row "forward, layer $layer: its whole beside the shards" 7 "$(held forward $layer compute held)" \
    "6 different ones: its own quarter lies in the shard and in the gathered layer"
  row "forward, layer $layer: after it" 3 "$(held forward $layer free held)"
done
for layer in 2 1 0; do
  row "backward, layer $layer: gathered, gradients whole" $((3 + 4 + 4 + 2 - layer)) "$(held backward $layer compute held)" \
    "3 shards, 4 parameters, 4 gradients, $((2 - layer)) gradient shards of layers behind"
  row "backward, layer $layer: after it" $((3 + 3 - layer)) "$(held backward $layer free held)" "one gradient shard more"
done
row "after the update" 3 "$(held 'optimizer step' - after held)"
sent=$("$MEMPLAN" show zero3 "${stack[@]}" --get '/*/sent' | total)
row "sent by one GPU in the step" 27 "$sent" "3 psi (N-1)/N: two gathers and a reduce-scatter of each layer"
