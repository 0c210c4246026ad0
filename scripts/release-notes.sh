#!/usr/bin/env bash
# Prints the entries of one version from CHANGELOG.md, without its heading. The exit code is 1 without entries.
set -euo pipefail
version=${1:?usage: scripts/release-notes.sh VERSION}
notes=$(awk -v version="$version" '/^## / { selected = $2 == version; next } selected' "$(dirname "$0")/../CHANGELOG.md")
[ -n "$notes" ] || { echo "CHANGELOG.md has no section \"## $version\" with entries" >&2; exit 1; }
printf '%s\n' "$notes" | sed '/./,$!d' # without the empty lines after the heading
