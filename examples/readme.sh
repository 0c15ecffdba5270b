#!/usr/bin/env bash
# Runs every memplan command that the README shows. Fits and does-not-fit are both answers; anything
# else fails this script.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PWD/build/release:$PATH"

mapfile -t commands < <(grep -E '^memplan ' README.md)
((${#commands[@]} > 0)) || { echo "no command found in README.md" >&2; exit 1; }
for command in "${commands[@]}"; do
  printf '\n$ %s\n' "$command"
  status=0
  # Words of the README's own commands; none of them needs quoting.
  # shellcheck disable=SC2086
  $command || status=$?
  if ((status > 1)); then
    echo "exit code $status" >&2
    exit "$status"
  fi
done
