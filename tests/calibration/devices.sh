#!/usr/bin/env bash
# memplan-calibrate lists the GPUs, or exits with 3 and says what is missing.
# usage: devices.sh MEMPLAN_CALIBRATE
set -euo pipefail

fail() {
  echo "FAILED: $1" >&2
  exit 1
}

errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
code=0
answer=$("$1" 2>"$errors") || code=$?
case $code in
  0) [[ $answer == *'"total_bytes"'* ]] || fail "exit code 0, but no GPU in: $answer" ;;
  3)
    [[ -z $answer ]] || fail "exit code 3 goes with an empty stdout, not: $answer"
    grep -q 'NVIDIA' "$errors" || fail "exit code 3 without a reason: $(cat "$errors")"
    ;;
  *) fail "exit code $code: $(cat "$errors")" ;;
esac

code=0
"$1" --no-such-option >/dev/null 2>&1 || code=$?
((code == 2)) || fail "an unknown option gives exit code $code, not 2"
