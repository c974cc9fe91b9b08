#!/bin/sh
# Fails when the generated code that is checked in is not what `make gen` makes of proto/. Generates in a copy, so that
# the working tree stays as it is.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

git ls-files --cached --others --exclude-standard | while IFS= read -r file; do
  if [ -e "$file" ]; then printf '%s\n' "$file"; fi
done | tar -cf - -T - | tar -xf - -C "$copy"
ln -s "$root/node_modules" "$copy/node_modules"
make -s -C "$copy" gen >"$copy.log" 2>&1 || { cat "$copy.log"; rm -f "$copy.log"; exit 1; }
rm -f "$copy.log"

for part in gen clients; do
  mkdir -p "$copy/$part"
  if ! diff -r -q -x node_modules -x build -x dist -x .venv -x __pycache__ "$root/$part" "$copy/$part"; then
    echo "the generated code in $part/ is not what proto/ says; run: make gen" >&2
    exit 1
  fi
done
