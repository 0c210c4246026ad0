#!/usr/bin/env bash
# Installs the missing requirements of the tests and the demo: Debian packages, .venv, lab/node/node_modules,
# .lab/servers.
# A second run changes nothing. PYTHON names another interpreter for the venv.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
exec 9<scripts/setup.sh
flock 9 # two concurrent runs would install into the same venv

have() { command -v "$1" >/dev/null; }
say() { echo "setup: $*"; }
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

missing_packages() {
  have redis-server && have redis-cli || echo redis-server
  have redis-sentinel || echo redis-sentinel
  have prometheus && have promtool || echo prometheus
  have amtool || echo prometheus-alertmanager
  have openssl || echo openssl
  have chromium || echo chromium
  have setpriv || echo util-linux
  have systemd-analyze || echo systemd
  have "$python" && "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
  have node && node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' || echo nodejs
  have npm || echo npm
  [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
}

# Debian starts installed services, at once and at every boot. They would use 6379 and 9090 on a machine that needs only
# the programs, so policy-rc.d prevents the start during installation, and the new units are disabled afterwards.
policy=/usr/sbin/policy-rc.d
forbid_services() {
  [ ! -e $policy ] || [ -e $policy.before-oxherd ] || as_root mv $policy $policy.before-oxherd
  trap restore_services EXIT
  printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
  as_root chmod 755 $policy
}
restore_services() {
  as_root rm -f $policy
  [ ! -e $policy.before-oxherd ] || as_root mv $policy.before-oxherd $policy
  trap - EXIT
}

install_packages() {
  local by_hand="apt-get install --no-install-recommends $*"
  have apt-get || fail "this machine lacks (Debian's names): $*" \
    "There is no apt-get here. Install them with its own package manager, then run make setup again."
  as_root true 2>/dev/null || fail "this machine lacks: $*" "As root, run: $by_hand" "then run make setup again."

  say "installing $*"
  local output
  output=$(as_root apt-get update -qq </dev/null 2>&1) || say "apt-get update says: $output"
  forbid_services
  output=$(as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends "$@" </dev/null 2>&1) \
    || fail "could not install: $*" "$output" "To try by hand, as root: $by_hand"
  restore_services
  if [ -d /run/systemd/system ]; then
    for package in "$@"; do
      case $package in redis-* | prometheus*) as_root systemctl disable --quiet "$package" ;; esac
    done
  fi
}

# A stamp file has the hash of the installed lock file, so that only a changed lock file is installed again.
hash_of() { cat "$@" | sha256sum | cut -d' ' -f1; }
stamped() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

mapfile -t packages < <(missing_packages)
[ ${#packages[@]} = 0 ] || install_packages "${packages[@]}"

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || fail "$("$python" --version) is too old: install Python 3.11 or later, and name it: make setup PYTHON=/path/to/python3.11"

locked=$(hash_of requirements/dev.txt)
if ! .venv/bin/python -c '' 2>/dev/null || ! stamped .venv/.requirements "$locked"; then
  say "installing requirements/dev.txt into .venv"
  .venv/bin/python -c '' 2>/dev/null || "$python" -m venv --clear .venv
  .venv/bin/pip install -qq --disable-pip-version-check --require-hashes -r requirements/dev.txt
  echo "$locked" >.venv/.requirements
  rm -f .venv/.project
fi

project=$(hash_of pyproject.toml)
if ! stamped .venv/.project "$project" || [ ! -x .venv/bin/monitor ]; then
  say "installing oxherd itself, editable"
  .venv/bin/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
  .venv/bin/pip check
  echo "$project" >.venv/.project
fi

modules=$(hash_of lab/node/package.json lab/node/package-lock.json)
if ! stamped lab/node/node_modules/.oxherd "$modules"; then
  say "installing lab/node/package-lock.json into lab/node/node_modules"
  (cd lab/node && npm ci --silent --no-progress --ignore-scripts)
  echo "$modules" >lab/node/node_modules/.oxherd
fi

# Redis and Valkey of other versions: conditions that Debian's cannot have.
[ -e .lab/servers/complete ] || say "installing requirements/redis-versions.txt into .lab/servers"
scripts/other-redis.sh .lab/servers >/dev/null
