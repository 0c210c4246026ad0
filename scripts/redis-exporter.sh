#!/usr/bin/env bash
# Unpacks Debian's redis_exporter into a directory and prints the path of its program. Nothing is installed: the package
# would start a service. It comes from the mirror that apt is configured for.
set -euo pipefail
directory=$(realpath -m "${1:?usage: scripts/redis-exporter.sh DIRECTORY}")
if [ ! -e "$directory/complete" ]; then
  rm -rf "$directory" && mkdir -p "$directory/debs"
  download() { (cd "$directory/debs" && apt-get -q -q -o APT::Sandbox::User=root download prometheus-redis-exporter) >&2; }
  download || { apt-get -q -q update >&2 && download; }
  dpkg-deb --extract "$directory"/debs/*.deb "$directory"
  rm -rf "$directory/debs"
  touch "$directory/complete"
fi
echo "$directory/usr/bin/prometheus-redis-exporter"
