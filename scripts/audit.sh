#!/usr/bin/env bash
# Known vulnerabilities of the packages in requirements/image.txt, by pip-audit in a separate environment in DIRECTORY.
# Exit code 0: none; 1: some, which are listed; 3: no source of advisories answers, which is not a pass.
# OXHERD_AUDIT_SOURCES: the sources in the order in which they are tried.
set -euo pipefail
directory=$(realpath -m "${1:?usage: scripts/audit.sh DIRECTORY}")
cd "$(dirname "$0")/.."
not_audited() { echo "audit: NOT AUDITED: $*" >&2; exit 3; }

if [ ! -e "$directory/complete" ]; then
  rm -rf "$directory" && "${PYTHON:-python3}" -m venv "$directory"
  "$directory/bin/pip" install -qq --disable-pip-version-check 'pip-audit>=2.9,<3' || not_audited "pip-audit cannot be installed"
  touch "$directory/complete"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

audit() { # SOURCE REQUIREMENTS RESULT: writes RESULT unless the source fails
  timeout 300 "$directory/bin/pip-audit" --vulnerability-service "$1" --requirement "$2" --no-deps --disable-pip \
    --progress-spinner off --timeout 10 --format json --output "$3" 2>"$work/errors" || [ -s "$3" ]
}

# A registry's mirror may answer without any advisory. One that knows none of a release that has some is no source.
echo 'pyyaml==5.3' >"$work/known.txt"
for source in ${OXHERD_AUDIT_SOURCES:-pypi osv}; do
  if audit "$source" "$work/known.txt" "$work/known.json" && grep -q '"vulns": *\[{' "$work/known.json"; then
    audit "$source" requirements/image.txt "$work/result.json" || not_audited "$source fails: $(tail -n 1 "$work/errors")"
    code=0
    "$directory/bin/python" - "$work/result.json" <<'PYTHON' || code=$?
import json, sys

packages = json.load(open(sys.argv[1]))["dependencies"]
unknown = [package["name"] for package in packages if "skip_reason" in package]
found = [(package, vulnerability) for package in packages for vulnerability in package.get("vulns", [])]
for package, vulnerability in found:
    names = ", ".join([vulnerability["id"], *vulnerability.get("aliases", [])])
    fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
    print(f"{package['name']} {package['version']}: {names}; fixed in {fixed}")
if found:
    sys.exit(1)
if unknown or not packages:
    print(f"audit: NOT AUDITED: the source does not know {', '.join(unknown) or 'any package'}", file=sys.stderr)
    sys.exit(3)
print(f"audit: none of {len(packages)} packages has a known vulnerability")
PYTHON
    exit $code
  fi
  echo "audit: $source does not answer with advisories: $(tail -n 1 "$work/errors")" >&2
done
not_audited "no source of advisories can be reached"
