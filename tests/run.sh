#!/usr/bin/env bash
# Installs what is needed, builds memplan (release) and runs every test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tests/install.sh
cmake --preset release
cmake --build --preset release
if ctest --preset release --parallel "$(nproc)"; then
  echo "tests/run.sh: every test passed; the program is build/release/memplan"
else
  echo "tests/run.sh: tests failed; their output is above" >&2
  exit 1
fi
