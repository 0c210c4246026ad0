"""scripts/audit.sh: passes only where a source of advisories answered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "audit.sh"

FAKE = """\
#!/bin/sh
# A pip-audit: for each source a file of what it answers to the known release, and one of what to ours.
while [ $# -gt 0 ]; do
  case $1 in
  --vulnerability-service) source=$2 ;;
  --requirement) asked=$(basename "$2" .txt) ;;
  --output) output=$2 ;;
  esac
  shift
done
answer=$ANSWERS/$source-$asked.json
[ -e "$answer" ] || { echo "ERROR: $source: no route to host" >&2; exit 1; }
cp "$answer" "$output"
grep -q '"vulns": \\[{' "$output" && exit 1
exit 0
"""

BAD = {
    "name": "pyyaml",
    "version": "5.3",
    "vulns": [{"id": "PYSEC-2021-142", "aliases": ["CVE-2020-14343"], "fix_versions": ["5.4"]}],
}
GOOD = {"name": "pyyaml", "version": "6.0.3", "vulns": []}
UNKNOWN = {"name": "ours", "skip_reason": "not found"}


def audit(folder: Path, **answers: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    """`answers` are by source and what is asked: pypi_known, osv_image."""
    tool = folder / "tool"
    (tool / "bin").mkdir(parents=True)
    (tool / "complete").touch()
    (tool / "bin" / "python").symlink_to(sys.executable)
    (tool / "bin" / "pip-audit").write_text(FAKE)
    (tool / "bin" / "pip-audit").chmod(0o755)
    for name, packages in answers.items():
        text = json.dumps({"dependencies": packages, "fixes": []})
        (folder / f"{name.replace('_', '-')}.json").write_text(text)
    return subprocess.run(
        [SCRIPT, str(tool)],
        env=os.environ | {"ANSWERS": str(folder)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_no_source_is_no_pass(tmp_path: Path) -> None:
    done = audit(tmp_path)
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "audit: pypi does not answer with advisories: ERROR: pypi: no route to host",
        "audit: osv does not answer with advisories: ERROR: osv: no route to host",
        "audit: NOT AUDITED: no source of advisories can be reached",
    ]


def test_a_source_that_knows_no_advisory_at_all_is_none(tmp_path: Path) -> None:
    done = audit(tmp_path, pypi_known=[GOOD], pypi_image=[GOOD])
    assert (done.returncode, done.stdout) == (3, "")


@pytest.mark.parametrize("source", ["pypi", "osv"])
def test_packages_without_a_vulnerability_pass(tmp_path: Path, source: str) -> None:
    answers: dict[str, list[dict[str, Any]]] = {f"{source}_known": [BAD], f"{source}_image": [GOOD, GOOD]}
    done = audit(tmp_path, **answers)
    expected = "audit: none of 2 packages has a known vulnerability\n"
    assert (done.returncode, done.stdout) == (0, expected)


def test_a_vulnerability_fails_and_is_named(tmp_path: Path) -> None:
    done = audit(tmp_path, pypi_known=[BAD], pypi_image=[GOOD, BAD])
    assert done.returncode == 1
    assert done.stdout == "pyyaml 5.3: PYSEC-2021-142, CVE-2020-14343; fixed in 5.4\n"


def test_a_source_that_fails_in_between_or_does_not_know_a_package_is_no_pass(tmp_path: Path) -> None:
    done = audit(tmp_path / "a", pypi_known=[BAD])
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "audit: NOT AUDITED: pypi fails: ERROR: pypi: no route to host\n"
    done = audit(tmp_path / "b", pypi_known=[BAD], pypi_image=[GOOD, UNKNOWN])
    assert done.returncode == 3
    assert done.stderr == "audit: NOT AUDITED: the source does not know ours\n"
