#!/usr/bin/env bash
# Golden texts. Each tests/golden/NAME.cmd holds the arguments of one run of memplan; NAME.txt holds what
# it must print on stdout, and its exit code.
#
#   tests/golden.sh BINARY [NAME…]            compares, and shows the difference
#   tests/golden.sh --update BINARY [NAME…]   writes the texts anew; review the diff before committing
#
# A .cmd file is one command line in shell quoting, split over lines as one likes; lines that begin with #
# are comments. Paths in it are relative to the root of the source tree.
set -euo pipefail

update=false
if [[ ${1:-} == --update ]]; then
  update=true
  shift
fi
if [[ $# -lt 1 || ! -x $1 ]]; then
  echo "usage: tests/golden.sh [--update] BINARY [NAME…]" >&2
  exit 2
fi
binary=$(realpath "$1")
shift

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
shopt -s nullglob
if [[ $# -gt 0 ]]; then
  cases=("${@/#/tests/golden/}")
  cases=("${cases[@]/%/.cmd}")
else
  cases=(tests/golden/*.cmd)
fi

# The stdout and exit code of one case, as its .txt file holds them.
run() {
  local arguments code=0
  eval "arguments=($(grep -v '^#' "$1" | tr '\n' ' '))"
  NO_COLOR=1 COLUMNS=100 timeout 60 "$binary" "${arguments[@]}" 2>/dev/null </dev/null || code=$?
  echo "exit code: $code"
}

passed=0
failed=0
for case in "${cases[@]}"; do
  expected=${case%.cmd}.txt
  actual=$(run "$case" && echo .)  # the dot keeps trailing newlines
  actual=${actual%.}
  if $update; then
    printf '%s' "$actual" >"$expected"
  elif [[ ! -f $expected ]]; then
    echo "$expected is missing; write it with: tests/golden.sh --update BINARY"
    failed=$((failed + 1))
  elif printf '%s' "$actual" | diff -u --label "$expected" --label "memplan now" "$expected" -; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
  fi
done

# A text whose command is gone tests nothing.
for text in tests/golden/*.txt; do
  if [[ ! -f ${text%.txt}.cmd ]]; then
    echo "$text has no .cmd file"
    failed=$((failed + 1))
  fi
done

if $update; then
  echo "${#cases[@]} golden texts written; review them with git diff tests/golden"
else
  echo "golden: $passed passed, $failed failed"
fi
((failed == 0))
