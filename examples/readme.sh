#!/usr/bin/env bash
# Runs every memplan command that the README shows. Fits and does-not-fit are both answers; anything
# else fails this script.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PWD/build/release:$PATH"

# Commands stand in the fenced blocks; one may go on over lines that end in a backslash.
# shellcheck disable=SC2016
mapfile -t commands < <(sed -n '/^```sh$/,/^```$/p' README.md |
  sed -e ':join' -e '/\\$/{N;s/ *\\\n */ /;b join' -e '}' | grep -E '^memplan ')
((${#commands[@]} > 0)) || { echo "no command found in README.md" >&2; exit 1; }
for command in "${commands[@]}"; do
  printf '\n$ %s\n' "$command"
  status=0
  eval "$command" || status=$?
  if ((status > 1)); then
    echo "exit code $status" >&2
    exit "$status"
  fi
done
