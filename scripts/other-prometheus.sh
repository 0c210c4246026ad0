#!/usr/bin/env bash
# Unpacks the Prometheus and Alertmanager of Debian's newer suites into a directory, a folder each suite, and prints the
# folders of their programs. That of sid has VictoriaMetrics too: Debian builds Prometheus without its OTLP receiver. Nothing is installed. The packages come from the mirror that apt is configured for.
set -euo pipefail
directory=$(realpath -m "${1:?usage: scripts/other-prometheus.sh DIRECTORY}")
packages=(prometheus promtool prometheus-alertmanager)

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v -e security -e updates | sort -u | head -n 1)
: "${mirror:?apt is set up for no mirror}"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
for suite in trixie sid; do
  home=$directory/$suite
  [ "$suite" != sid ] || packages+=(victoria-metrics)
  if [ ! -e "$home/complete.2" ]; then
    rm -rf "$home" && mkdir -p "$home/lists/partial" "$home/archives/partial" "$home/debs" && : >"$home/status"
    echo "deb [signed-by=$keys] $mirror $suite main" >"$home/sources.list"
    apt=(apt-get -q -q -o "Dir::State::lists=$home/lists" -o "Dir::Cache=$home" -o "Dir::State::status=$home/status"
      -o "Dir::Etc::sourcelist=$home/sources.list" -o "Dir::Etc::sourceparts=-" -o "APT::Sandbox::User=root")
    "${apt[@]}" update
    (cd "$home/debs" && "${apt[@]}" download "${packages[@]}")
    for package in "$home"/debs/*.deb; do
      dpkg-deb --extract "$package" "$home"
    done
    rm -rf "$home/lists" "$home/archives" "$home/debs"
    touch "$home/complete.2"
  fi
  echo "$home/usr/bin"
done
