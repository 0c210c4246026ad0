#!/usr/bin/env bash
# Installs servers of other versions than Debian's into a directory and prints the path of each. They are part of packages
# from the registry that pip is configured for. If they are installed already, it only prints.
set -euo pipefail
here=$(realpath "$(dirname "$0")/..")
directory=$(realpath -m "${1:?usage: scripts/other-redis.sh DIRECTORY}")

versions=$(sha256sum <"$here/requirements/redis-versions.txt")
if [ "$(cat "$directory/complete" 2>/dev/null)" != "$versions" ]; then
  "$here/.venv/bin/pip" install -qq --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --upgrade --target "$directory" -r "$here/requirements/redis-versions.txt"
  echo "$versions" >"$directory/complete"
fi
# One of the packages has its server a second time, under bin/.
find "$directory" -name '*-server' -type f -size +1M -not -path "$directory/bin/*" -exec chmod +x {} \; -print | sort
