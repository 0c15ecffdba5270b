# Helpers for tests/cli/*.sh, which get the program and the source folder:
#
#   source "$(dirname "$0")/../expect.sh"
#   expect 2 fit no-such-model           # runs memplan, checks the exit code, keeps $out and $err
#   expect_err 'no-such-model'           # stderr holds this text; likewise expect_out
#   finish                               # last line: fails if any expectation failed
#
# Every failure is told, with where it stands and what memplan said.

set -uo pipefail
export NO_COLOR=1

memplan=$1
source_dir=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
checks=0
failures=0
command=""
out=""
err=""

complain() {
  failures=$((failures + 1))
  printf '%s: %s\n  command: memplan %s\n  stdout: %.400s\n  stderr: %.400s\n' \
    "$0:${BASH_LINENO[1]}" "$1" "$command" "$out" "$err" >&2
}

expect() {
  local wanted=$1 code=0
  shift
  command="$*"
  checks=$((checks + 1))
  timeout 60 "$memplan" "$@" >"$scratch/.out" 2>"$scratch/.err" </dev/null || code=$?
  out=$(tr -d '\0' <"$scratch/.out")
  err=$(tr -d '\0' <"$scratch/.err")
  ((code == wanted)) || complain "exit code $code, not $wanted"
}

expect_out() {
  checks=$((checks + 1))
  [[ $out == *"$1"* ]] || complain "stdout lacks: $1"
}

expect_err() {
  checks=$((checks + 1))
  [[ $err == *"$1"* ]] || complain "stderr lacks: $1"
}

finish() {
  echo "$(basename "$0"): $checks checks, $failures failed"
  ((checks > 0 && failures == 0))
}
