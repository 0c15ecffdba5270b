#!/usr/bin/env bash
# Installs what building and testing memplan takes, on Debian 12 or later and its relatives. Installs
# nothing, and needs neither network nor root, where all of it is there. MEMPLAN_INSTALL=no skips it.
set -euo pipefail

# package              for
packages=(
  g++                  # the compiler, C++20
  cmake                # the build
  ninja-build          # the build
  ccache               # building again quickly
  nlohmann-json3-dev   # reading and writing JSON
  libcli11-dev         # the command line
  libfmt-dev           # text
  doctest-dev          # unit tests
  clang-format         # the format check of .ci/run
)

say() { echo "install: $*" >&2; }

if [[ ${MEMPLAN_INSTALL:-yes} == no ]]; then
  say "skipped, as MEMPLAN_INSTALL=no asks"
  exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  say "this is not a Debian system (no apt-get). Install what these Debian packages hold: ${packages[*]}"
  say "then run again with MEMPLAN_INSTALL=no"
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || true
  [[ $status == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  say "nothing to do; these are there: ${packages[*]}"
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    say "missing: ${missing[*]}"
    say "installing takes root: run as root, or install sudo, or ask your administrator for them"
    exit 1
  fi
  as_root=(sudo)
fi

say "installing with apt-get: ${missing[*]}"
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q "$@" >&2; }
apt update || say "apt-get update failed; trying with the package lists that are here"
if ! apt install -y --no-install-recommends "${missing[@]}"; then
  say "apt-get could not install: ${missing[*]} (is the network up?)"
  exit 1
fi
say "done"
