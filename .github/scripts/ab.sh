#!/usr/bin/env bash
# One comparison of the action: its table, JUnit and results go to a folder, its exit code to the outputs.
# What is asked for comes in variables and never becomes part of a command that a shell reads.
set -euo pipefail

words() { # one word a line, quotes respected
  [ -z "${1//[[:space:]]/}" ] || xargs -n1 printf '%s\n' <<< "$1"
}

folder=$(mktemp -d "${RUNNER_TEMP:-/tmp}/cnn-harness-XXXXXX")
python=${HARNESS_PYTHON:-}
if [ -z "$python" ]; then
  python3 -m venv "$folder/venv"
  python=$folder/venv/bin/python
  mapfile -t pip < <(words "${PIP_ARGUMENTS:-}")
  "$python" -m pip install --quiet -c "$ACTION/constraints.txt" "${pip[@]}" "$ACTION[$EXTRAS]"
fi

mapfile -t arguments < <(words "${ARGUMENTS:-}")
command=("$python" -m harness ab "$A" "$B" --out "$folder/results"
  --markdown "$folder/ab.md" --junit "$folder/ab.xml" --github-annotations --github-summary)
[ -z "${CHECKOUT_A:-}" ] || command+=(--checkout-a "$CHECKOUT_A")
[ -z "${PYTHON_A:-}" ] || command+=(--python-a "$PYTHON_A")
[ -z "${PYTHON_B:-}" ] || command+=(--python-b "$PYTHON_B")
case ${INCONCLUSIVE:-pass} in
  pass) command+=(--inconclusive-ok) ;;
  fail) ;;
  *) echo "::error::inconclusive: '$INCONCLUSIVE'; allowed: pass, fail" && exit 2 ;;
esac

code=0
"${command[@]}" "${arguments[@]}" || code=$?
{
  echo "exit-code=$code"
  echo "folder=$folder"
} >> "$GITHUB_OUTPUT"
# Wrong usage leaves no table to comment on, and must not pass for a verdict.
if [ ! -e "$folder/ab.md" ]; then
  exit "$((code ? code : 2))"
fi
