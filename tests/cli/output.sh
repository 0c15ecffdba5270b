#!/usr/bin/env bash
# Where the answer goes, and in which colours.
source "$(dirname "$0")/../expect.sh"
job=(fit gpt2 --gpu v100-32g)

# Colour: only where it is asked for, a terminal being absent here.
expect 0 "${job[@]}" --color always
expect_out $'\x1b[32mgpt2 on 1 × v100-32g: fits\x1b[0m'
for quiet in auto never; do
  expect 0 "${job[@]}" --color $quiet
  checks=$((checks + 1))
  [[ $out != *$'\x1b'* ]] || complain "--color $quiet colours"
done
# On a terminal colour is the default, and NO_COLOR takes it away.
if command -v script >/dev/null; then
  tty=$(env -u NO_COLOR script -qec "$memplan ${job[*]}" /dev/null </dev/null)
  checks=$((checks + 1))
  [[ $tty == *$'\x1b[32m'* ]] || complain "no colour on a terminal"
  tty=$(NO_COLOR=1 script -qec "$memplan ${job[*]}" /dev/null </dev/null)
  checks=$((checks + 1))
  [[ $tty != *$'\x1b['* ]] || complain "NO_COLOR is not honoured"
fi

# --output: the answer in a file, nothing on stdout, the old file replaced whole.
expect 0 "${job[@]}"
plain=$out
echo old >"$scratch/answer"
expect 0 "${job[@]}" --output "$scratch/answer"
checks=$((checks + 2))
[[ -z $out ]] || complain "--output prints to stdout as well"
[[ $(<"$scratch/answer") == "$plain" ]] || complain "the file holds another answer"
expect 0 "${job[@]}" --json --output "$scratch/new.json"
checks=$((checks + 2))
grep -q '"schema_version": 1' "$scratch/new.json" || complain "the file holds no report"
[[ $(ls -A "$scratch" | grep -vc '^\.\(out\|err\)$') == 2 ]] || complain "a temporary file stays behind"
ln -s answer "$scratch/link"
expect 0 "${job[@]}" --json --output "$scratch/link"
checks=$((checks + 1))
[[ -L $scratch/link ]] && grep -q schema_version "$scratch/answer" || complain "a link was replaced"
expect 0 "${job[@]}" --output /dev/null

expect 2 "${job[@]}" --output "$scratch/none/answer"
expect_err "there is no folder"
expect 2 "${job[@]}" --output "$scratch"
expect_err "is a folder"
expect 2 "${job[@]}" --output ""
expect_err "the name of the file is empty"
# A verdict of the job never hides that its answer is lost.
expect 2 fit llama3-8b --gpu v100-16g --output "$scratch/none/answer"

# A closed or full stdout is told.
checks=$((checks + 2))
code=0
"$memplan" "${job[@]}" >&- 2>"$scratch/.err" || code=$?
err=$(<"$scratch/.err")
[[ $code == 2 && $err == *"stdout: cannot be written"* ]] || complain "closed stdout: exit code $code"
if [[ -e /dev/full ]]; then
  code=0
  "$memplan" "${job[@]}" >/dev/full 2>"$scratch/.err" || code=$?
  err=$(<"$scratch/.err")
  [[ $code == 2 && $err == *"No space left"* ]] || complain "full stdout: exit code $code"
fi
code=$( ("$memplan" show models --json 2>"$scratch/.err"; echo $? >"$scratch/code") | true; cat "$scratch/code")
checks=$((checks + 1))
[[ $code == 2 || $code == 0 ]] || complain "broken pipe: exit code $code"

# Help and version go to stdout.
expect 0
expect_out "memplan fit"
expect 0 --help
expect_out "Not available yet"
expect 0 fit --help
expect_out "--micro-batch N"
expect 0 show --help
expect_out "optimizers"
expect 0 --version
expect_out "memplan 0."

finish
