#!/usr/bin/env bash
# Put a Markdown file under a pull request; the comment that is there already is renewed.
set -euo pipefail

marker="<!-- cnn-harness: ${TITLE//--/-} -->"
body=$(mktemp)
{ echo "$marker"; cat "$FILE"; } > "$body"
comments="repos/$GITHUB_REPOSITORY/issues/$PULL_REQUEST/comments"
if ! found=$(MARKER=$marker gh api --paginate "$comments" \
  --jq '.[] | select(.body | startswith(env.MARKER)) | .id'); then
  echo "::warning::the comments of the pull request cannot be read; the table is in the summary"
  exit 0
fi
id=$(head -n 1 <<< "$found")
if [ -n "$id" ]; then
  place=(-X PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$id")
else
  place=(-X POST "$comments")
fi
# From a fork the token may only read: the verdict stands all the same.
gh api "${place[@]}" -F "body=@$body" --silent ||
  echo "::warning::no leave to comment (pull-requests: write); the table is in the summary"
