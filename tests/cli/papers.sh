#!/usr/bin/env bash
# The scripts of examples/papers/ run, and every figure they print is the one in tests/golden/papers/.
#
#   tests/cli/papers.sh BINARY SOURCE            compares, and shows the difference
#   tests/cli/papers.sh BINARY SOURCE --update   writes the texts anew; review the diff before committing
set -euo pipefail

MEMPLAN=$(realpath "$1")
export MEMPLAN
cd "$2"
golden=tests/golden/papers
mkdir -p "$golden"

failed=0
total=0
for script in examples/papers/*.sh; do
  name=$(basename "$script" .sh)
  total=$((total + 1))
  code=0
  actual=$(timeout 120 "$script" 2>&1 </dev/null) || code=$?
  if ((code != 0)); then
    echo "$script: exit code $code"
    tail -n 3 <<<"$actual"
    failed=$((failed + 1))
  elif [[ ${3:-} == --update ]]; then
    printf '%s\n' "$actual" >"$golden/$name.txt"
  elif ! diff -u --label "$golden/$name.txt" --label "$script now" "$golden/$name.txt" - <<<"$actual"; then
    failed=$((failed + 1))
  fi
done
for text in "$golden"/*.txt; do  # a text whose script is gone tests nothing
  if [[ ! -x examples/papers/$(basename "$text" .txt).sh ]]; then
    echo "$text has no script"
    failed=$((failed + 1))
  fi
done
echo "papers: $total scripts, $failed failed"
((total > 0 && failed == 0))
