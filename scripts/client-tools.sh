#!/bin/sh
# Installs the generators of the Python and Go clients, at pinned versions, into the user's cache folder (once), and
# prints the folder. Usage: client-tools.sh python | go
set -eu
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mongoferry/client-tools
mkdir -p "$cache"

# Built beside its place and then moved: a run that was killed leaves nothing that looks whole, and of two runs at once
# the first one wins.
finish() {
  mv -T "$1" "$2" 2>/dev/null || rm -rf "$1"
}

python_tools() {
  pins=clients/python/requirements-tools.txt
  folder=$cache/python-$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')-$(cksum <"$pins" | cut -d' ' -f1)
  if [ ! -d "$folder" ]; then
    partial=$(mktemp -d "$cache/.partial-XXXXXX")
    python3 -m venv "$partial" >&2
    "$partial/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile -r "$pins" >&2
    finish "$partial" "$folder"
  fi
  echo "$folder"
}

go_tools() {
  pins=clients/go/tools.txt
  folder=$cache/go-$(cksum <"$pins" | cut -d' ' -f1)
  if [ ! -d "$folder" ]; then
    partial=$(mktemp -d "$cache/.partial-XXXXXX")
    while IFS= read -r tool; do GOBIN=$partial go install "$tool" >&2; done <"$pins"
    finish "$partial" "$folder"
  fi
  echo "$folder"
}

case ${1:-} in
  python) python_tools ;;
  go) go_tools ;;
  *) echo "usage: $0 python | go" >&2; exit 2 ;;
esac
