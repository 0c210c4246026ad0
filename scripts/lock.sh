#!/usr/bin/env bash
# Updates requirements/*.txt and lab/node/package-lock.json from pyproject.toml and lab/node/package.json.
# Neither names a registry: an installation uses the one that its pip and npm are configured for.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools/venv"
"$tools/venv/bin/pip" install -qq 'pip-tools>=7.6,<8'

# pip-compile reads no dependency groups, and no build requirements beside other files: both go in as a requirements file.
# hatchling asks for editables only when it makes an editable install, redis for async-timeout only on Python before 3.11.3,
# which is Debian 12's and may not be the one that resolves.
python3 - >"$tools/dev.in" <<'PYTHON'
import pathlib, tomllib
project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())
print(*project["dependency-groups"]["dev"], *project["build-system"]["requires"], "editables", "async-timeout>=4.0.3", sep="\n")
PYTHON

{
  echo "# Everything to work on Oxherd, pinned with hashes. Written by scripts/lock.sh (make lock) from pyproject.toml."
  "$tools/venv/bin/pip-compile" -qq --output-file - --upgrade --generate-hashes --strip-extras --allow-unsafe \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-options \
    pyproject.toml "$tools/dev.in"
} >"$tools/dev.txt"
mv "$tools/dev.txt" requirements/dev.txt

# What the image holds: no more than the commands need, on a cluster.
{
  echo "# What the image installs, pinned with hashes. Written by scripts/lock.sh (make lock) from pyproject.toml."
  "$tools/venv/bin/pip-compile" -qq --output-file - --upgrade --generate-hashes --strip-extras --allow-unsafe \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-options \
    --extra kubernetes --extra keda --extra otlp --all-build-deps pyproject.toml
} >"$tools/image.txt"
mv "$tools/image.txt" requirements/image.txt

(cd lab/node && npm install --package-lock-only --ignore-scripts)
