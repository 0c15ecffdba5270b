#!/usr/bin/env bash
# Installs what is needed, builds memplan, and asks it one question: can eight H100s train Llama 3 8B
# with ZeRO-3 on sequences of 8,192 tokens?
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tests/install.sh
cmake --preset release >&2
cmake --build --preset release --target memplan >&2

question=(fit llama3-8b --gpu h100-80g --gpus 8 --zero 3 --seq 8192 --attention flash)
echo
echo "\$ memplan ${question[*]}"
verdict=0
build/release/memplan "${question[@]}" || verdict=$?
echo
case $verdict in
  0) echo "It fits." ;;
  1) echo "It does not fit." ;;
  *)
    echo "memplan gave no verdict (exit code $verdict)" >&2
    exit "$verdict"
    ;;
esac
echo "The program is build/release/memplan; --help lists its commands."
