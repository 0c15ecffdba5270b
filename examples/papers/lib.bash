# shellcheck shell=bash
# Helpers of the scripts beside it. Each prints tables of
#
#   paper's figure | memplan's | difference | comment
#
# where memplan's figure comes out of a run of memplan. "=" means: the same, rounded to the digits that
# the paper prints. A difference without a comment is an error of the script, unless the paper merely
# cut digits off.
#
# MEMPLAN names the program; build/release/memplan otherwise. Needs bash and awk.

set -euo pipefail
export LC_ALL=C
: "${MEMPLAN:=$(dirname "${BASH_SOURCE[0]}")/../../build/release/memplan}"
if [[ ! -x $MEMPLAN ]]; then
  echo "$0: there is no program '$MEMPLAN'; build it with examples/quickstart.sh" >&2
  exit 2
fi

# get POINTER[,POINTER…] MODEL OPTIONS…: values of the JSON report of one job, one a line. That a
# job does not fit (exit code 1) is an answer too.
get() {
  local pointers=$1 code=0
  shift
  "$MEMPLAN" fit "$@" --get "$pointers" || code=$?
  ((code <= 1))
}

# calc EXPRESSION: its value, in double precision; whole numbers come out whole.
calc() { awk "BEGIN { printf \"%.15g\n\", $1 }"; }

# two NUMBER: with two decimals, for comments.
two() { printf '%.2f' "$1"; }

# total: the sum of the numbers on stdin.
total() { awk '{ sum += $1 } END { printf "%.15g\n", sum }'; }

title() { printf '%s\n' "$@"; }

# section TEXT: a heading, and the names of the columns.
section() {
  printf '\n%s\n' "$1"
  printf '  %-46s %14s %18s %20s   %s\n' '' paper memplan difference comment
}

# row LABEL PAPER MEMPLAN [COMMENT]: one figure. PAPER "-" where the paper gives none.
row() {
  awk -v label="$1" -v paper="$2" -v ours="$3" -v comment="${4:-}" '
    function grouped(digits,    out) {  # 1234567 -> 1,234,567
      while (length(digits) > 3) {
        out = "," substr(digits, length(digits) - 2) out
        digits = substr(digits, 1, length(digits) - 3)
      }
      return digits out
    }
    function text(value, decimals,    whole, sign) {
      whole = sprintf("%.*f", decimals, value)
      sign = sub(/^-/, "", whole) ? "-" : ""
      if (!decimals) return sign grouped(whole)
      return sign grouped(substr(whole, 1, index(whole, ".") - 1)) substr(whole, index(whole, "."))
    }
    BEGIN {
      plain = paper
      gsub(",", "", plain)
      decimals = index(plain, ".") ? length(plain) - index(plain, ".") : 0
      shown = decimals ? decimals + 2 : (ours == int(ours) ? 0 : 2)
      if (shown > 4) shown = decimals > 4 ? decimals : 4
      difference = ""
      if (paper != "-") {
        delta = ours - plain
        unit = 10 ^ -decimals
        same = sprintf("%.*f", decimals, ours + unit / 1e6) == plain
        cut = sprintf("%.*f", decimals, int(ours / unit + 1e-9) * unit) == plain  # digits left off
        difference = same ? "=" : sprintf("%s%s (%+.1f %%)", delta < 0 ? "" : "+",
                                          text(delta, shown), 100 * delta / plain)
        if (!same && !cut && comment == "") {
          print label ": memplan says " ours ", the paper " paper ", and nobody says why" > "/dev/stderr"
          exit 1
        }
        paper = text(plain, decimals)
      }
      printf "  %-46s %14s %18s %20s   %s\n", label, paper, text(ours, shown), difference, comment
    }' | sed 's/ *$//'
}

# note TEXT…: a sentence below a table.
note() { printf '  %s\n' "$@"; }

# layer_activations MODEL LAYERS MICRO_BATCH OPTIONS…: bytes one layer keeps for one micro-batch: the
# second stage of a pipeline that has a layer a stage and one micro-batch under way holds just that.
layer_activations() {
  local model=$1 layers=$2 micro_batch=$3
  shift 3
  get /ranks/1/memory/activations "$model" --pp "$layers" --micro-batch "$micro_batch" \
    --global-batch "$micro_batch" "$@"
}
