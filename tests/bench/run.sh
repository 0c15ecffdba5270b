#!/usr/bin/env bash
# The start of one answer beside that of an interpreter that does nothing.
#   tests/bench/run.sh [RUNS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cmake --preset release >/dev/null
cmake --build --preset release --target memplan memplan_bench_start >/dev/null
exec build/release/tests/memplan_bench_start "${1:-101}" \
  -- build/release/memplan fit llama3-8b --gpu h100-80g --gpus 8 --zero 3 --seq 8192 --json \
  -- build/release/memplan --version \
  -- python3 -c pass
