#!/usr/bin/env bash
# Writes the error tables of tests/reference/README.md anew:  update_tables.sh BINARY
set -euo pipefail
binary=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")"

page=$(sed '/^The tables below are written by/q' README.md)
tables() { # HEADING FILE…
  printf '\n## %s\n\n' "$1"
  "$binary" validate "${@:2}" --markdown
}
{
  printf '%s\n' "$page"
  for file in torch_traces*.jsonl published.jsonl; do
    tables "\`$file\`" "$file"
  done
} >README.md.new
mv README.md.new README.md
