#!/bin/sh
# Fails when proto/ breaks clients of the main branch. Passes when there is no main branch, or no proto on it, yet.
set -eu
cd "$(dirname "$0")/.."
for ref in refs/remotes/origin/main refs/heads/main; do
  if git cat-file -e "$ref:proto" 2>/dev/null && git cat-file -e "$ref:buf.yaml" 2>/dev/null; then
    before=$(mktemp -d)
    trap 'rm -rf "$before"' EXIT
    git archive "$ref" proto buf.yaml | tar -xf - -C "$before"
    buf breaking --against "$before"
    exit
  fi
done
echo 'no proto on the main branch yet: nothing to break'
