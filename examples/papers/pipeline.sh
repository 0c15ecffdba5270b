#!/usr/bin/env bash
# Pipelines: GPipe (arXiv 1811.06965), PipeDream (1806.03377) and its flushed form 1F1B (2006.09503).
# shellcheck source=examples/papers/lib.bash
source "$(dirname "${BASH_SOURCE[0]}")/lib.bash"
title "Pipeline parallelism: GPipe (arXiv 1811.06965), PipeDream (1806.03377), PipeDream-flush (2006.09503)"

card=(--gpu a100-80g --seq 1024)
bubble() { get /step/bubble_fraction gpt2-xl "${card[@]}" "$@"; }

section "Bubble (p-1)/(m+p-1): idle share of a step (GPipe, section 2.3)"
for schedule in gpipe 1f1b; do
  for shape in "4 1" "4 4" "4 16" "8 8" "8 32" "8 128"; do
    read -r p m <<<"$shape"
    row "$schedule, p = $p, m = $m" "$(printf %.6f "$(calc "($p - 1) / ($m + $p - 1)")")" \
      "$(bubble --schedule $schedule --pp "$p" --global-batch "$m")"
  done
done

section "What brings the bubble under 5 %"
# under VALUES: those whose bubble (on stdin, in the same order) is below 0.05.
under() { paste -d' ' <(tr , '\n' <<<"$1") - | awk '$2 < 0.05 { print $1 }'; }
for p in 4 8 16; do
  counts=$(seq -s, 1 $((20 * p)))
  fewest=$(get '/reports/*/step/bubble_fraction' gpt2-xl "${card[@]}" --pp $p --global-batch "$counts" | under "$counts" | head -n 1)
  row "p = $p: fewest micro-batches" "$((19 * (p - 1) + 1))" "$fewest" "m > 19 (p-1): at 19 (p-1) it is 5 % sharp"
done
for batch in 256 512 1024; do
  sizes=1,2,4,8,16,32,64,128,256
  largest=$(get '/reports/*/step/bubble_fraction' gpt2-xl "${card[@]}" --pp 8 --global-batch $batch --micro-batch $sizes |
    under "$sizes" | tail -n 1)
  row "p = 8, batch $batch: largest micro-batch" - "${largest:-0}" \
    "$( [[ -n $largest ]] && echo "$((batch / largest)) micro-batches, bubble $(printf %.4f "$(bubble --pp 8 --global-batch $batch --micro-batch "$largest")")" || echo "none")"
done

section "Micro-batches in flight on stage r, p = 8, m = 32: activations held, in units of one micro-batch's"
deep=(--pp 8 --global-batch 32)
one=$(get '/ranks/1/memory/activations' gpt2-xl "${card[@]}" --pp 8 --global-batch 1)  # 6 layers, one micro-batch
held() { calc "$(get "/ranks/$1/memory/activations" gpt2-xl "${card[@]}" "${deep[@]}" --schedule "$2") / $one"; }
for r in 1 3 6; do
  row "gpipe, stage $r" 32 "$(held $r gpipe)" "m on every stage"
  row "1f1b, stage $r" $((8 - r)) "$(held $r 1f1b)" "min(p-r, m)"
  row "pipedream, stage $r" $((8 - r)) "$(held $r pipedream)" "p-r"
  row "naive, stage $r" 1 "$(held $r naive)" "one micro-batch at a time"
done

section "PipeDream with weight stashing, p = 8: versions of the weights on stage r (section 3.3)"
weights() { get "/ranks/$1/memory/weights" gpt2-xl "${card[@]}" "${deep[@]}" --schedule "$2"; }
for r in 0 1 3 7; do
  row "stage $r" $((8 - r)) "$(calc "$(weights $r pipedream) / $(weights $r 1f1b)")" "p-r, against 1 of the flushed form"
done
row "bubble, pipedream" 0 "$(bubble "${deep[@]}" --schedule pipedream)" "no flush: the pipeline stays full across steps"

section "Naive model parallelism: layers cut over p GPUs, one at work"
for p in 2 4 8; do
  row "p = $p: GPUs busy at a time" 1 "$(calc "$p * (1 - $(bubble --pp $p --global-batch 32 --schedule naive))")" \
    "idle share $(bubble --pp $p --global-batch 32 --schedule naive)"
done
