"""scripts/release.sh: preconditions, tests of the wheel without the source tree, the tag as the last step."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHANGELOG = """\
# Changelog

## Unreleased

* [FIX] Later: not in these notes.

## 1.2.3 / 2026-11-28

The first line.

* [FEATURE] Area: what is new,
  in two lines.

## 1.2.2

* [FIX] Earlier: not in these notes.

## 1.2.1
"""
NOTES = "The first line.\n\n* [FEATURE] Area: what is new,\n  in two lines.\n"

FAKE_PYTHON = """\
#!/bin/sh
# A python that makes venvs of itself; its pip builds an empty wheel, its pytest records where it runs.
case "$*" in
*"-m venv "*)
  mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
  printf '#!/bin/sh\\necho oxherd 1.2.3\\n' >"$3/bin/monitor"
  cp "$3/bin/monitor" "$3/bin/scaling" && chmod +x "$3/bin/monitor" "$3/bin/scaling" ;;
*" wheel "*) while [ "$1" != --wheel-dir ]; do shift; done; : >"$2/oxherd-1.2.3-py3-none-any.whl" ;;
*"-m tools.sbom "*) echo "parts of $3 at $4" ;;
*"-m pytest "*) ls >"$SEEN"; (cd "$REPOSITORY" && $MEANWHILE) && exit "$TESTS" ;;
esac
"""


def git(repository: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=repository, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clean repository of version 1.2.3, with the scripts under test."""
    repository = tmp_path / "repository"
    for folder in ("scripts", "exporter", "scaler", "service", "tests", "requirements"):
        (repository / folder).mkdir(parents=True)
        (repository / folder / "file").write_text("")
    for name in ("release.sh", "release-notes.sh"):
        script = repository / "scripts" / name
        script.write_bytes((ROOT / "scripts" / name).read_bytes())
        script.chmod(0o755)
    (repository / "pyproject.toml").write_text('[project]\nname = "oxherd"\nversion = "1.2.3"\n')
    (repository / "CHANGELOG.md").write_text(CHANGELOG)
    (repository / ".gitignore").write_text("dist/\n")
    git(repository, "init", "--quiet")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "all")
    return repository


def release(
    repository: Path, version: str, *, dry_run: str = "", tests: int = 0, meanwhile: str = "true"
) -> subprocess.CompletedProcess[str]:
    python = repository.parent / "python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    identity = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environ = os.environ | identity | {"PYTHON": str(python), "DRY_RUN": dry_run}
    environ |= {"SEEN": str(repository.parent / "seen"), "TESTS": str(tests)}
    environ |= {"REPOSITORY": str(repository), "MEANWHILE": meanwhile}
    return subprocess.run(
        [repository / "scripts" / "release.sh", version],
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def notes(repository: Path, version: str) -> subprocess.CompletedProcess[str]:
    script = repository / "scripts" / "release-notes.sh"
    return subprocess.run([script, version], check=False, capture_output=True, text=True, timeout=60)


def assert_refused(repository: Path, version: str, why: str) -> None:
    done = release(repository, version)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"release: {why}"
    assert not (repository / "dist").exists()


def test_no_version_is_refused(repository: Path) -> None:
    assert_refused(repository, "", "no version is given: make release VERSION=x.y.z")


def test_a_version_other_than_the_projects_is_refused(repository: Path) -> None:
    assert_refused(repository, "1.2.4", "VERSION is 1.2.4, pyproject.toml has 1.2.3")


def test_a_version_without_a_section_is_refused(repository: Path) -> None:
    (repository / "CHANGELOG.md").write_text(CHANGELOG.replace("## 1.2.3 /", "## 1.2.30 /"))
    git(repository, "commit", "--quiet", "--all", "--message", "another")
    assert_refused(repository, "1.2.3", "there are no release notes for 1.2.3")


def test_a_tag_that_exists_is_refused(repository: Path) -> None:
    git(repository, "tag", "v1.2.3")
    assert_refused(repository, "1.2.3", "the tag v1.2.3 exists already")


@pytest.mark.parametrize("name", ["CHANGELOG.md", "new"])
def test_a_tree_that_is_not_clean_is_refused(repository: Path, name: str) -> None:
    with (repository / name).open("a") as file:
        file.write("changed\n")
    assert_refused(
        repository, "1.2.3", "the working tree is not clean: commit or remove what git status lists"
    )


def test_a_release_has_the_wheel_the_notes_and_an_annotated_tag(repository: Path) -> None:
    done = release(repository, "1.2.3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(NOTES)
    assert (repository / "dist" / "notes-1.2.3.md").read_text() == NOTES
    assert (repository / "dist" / "oxherd-1.2.3-py3-none-any.whl").exists()
    committed = git(repository, "show", "-s", "--format=%cI").strip()
    assert (repository / "dist" / "oxherd-1.2.3.cdx.json").read_text() == f"parts of 1.2.3 at {committed}\n"
    assert git(repository, "cat-file", "-t", "v1.2.3") == "tag\n"
    assert git(repository, "tag", "--list", "--format=%(contents)", "v1.2.3").strip() == (
        f"Oxherd 1.2.3\n\n{NOTES}".strip()
    )


def test_the_tests_run_without_the_source_tree(repository: Path) -> None:
    assert release(repository, "1.2.3", dry_run="1").returncode == 0
    folders = (repository.parent / "seen").read_text().split()
    assert "tests" in folders
    assert not {"exporter", "scaler", "service"} & set(folders)


def test_a_dry_run_makes_no_tag(repository: Path) -> None:
    done = release(repository, "1.2.3", dry_run="1")
    assert done.returncode == 0, done.stderr
    assert "release: dry run: v1.2.3 is not created\n" in done.stdout
    assert (repository / "dist" / "notes-1.2.3.md").exists()
    assert git(repository, "tag") == ""


def test_nothing_is_tagged_or_written_when_a_test_fails(repository: Path) -> None:
    done = release(repository, "1.2.3", tests=1)
    assert done.returncode == 1
    assert done.stderr == "release: the tests fail with the wheel: nothing is tagged\n"
    assert git(repository, "tag") == ""
    assert not (repository / "dist").exists()


def test_the_notes_are_of_one_version(repository: Path) -> None:
    done = notes(repository, "1.2.3")
    assert (done.returncode, done.stdout) == (0, NOTES)


@pytest.mark.parametrize("version", ["1.2.1", "1.2", "9.9.9"], ids=["empty", "part of a number", "absent"])
def test_missing_notes_are_an_error(repository: Path, version: str) -> None:
    done = notes(repository, version)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f'CHANGELOG.md has no section "## {version}" with entries\n'


def test_every_entry_of_the_changelog_has_its_kind_and_area() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    entries = re.findall(r"^\* .*$", text, re.MULTILINE)
    assert all(re.fullmatch(r"Unreleased|\d+\.\d+\.\d+ / \d{4}-\d{2}-\d{2}", version) for version in versions)
    assert len(entries) >= len(versions) > 0
    kinds = r"\* \[(CHANGE|FEATURE|ENHANCEMENT|FIX)\] [A-Z][A-Za-z ,()]+: .+"
    assert [entry for entry in entries if not re.fullmatch(kinds, entry)] == []


def test_the_manifests_have_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    base = (ROOT / "deploy" / "kubernetes" / "base" / "kustomization.yaml").read_text()
    assert re.findall(r"newTag: (\S+)", base) == [version]


def test_the_commit_that_was_tested_is_tagged(repository: Path) -> None:
    tested = git(repository, "rev-parse", "HEAD")
    assert (
        release(repository, "1.2.3", meanwhile="git commit --quiet --allow-empty -m meanwhile").returncode
        == 0
    )
    assert git(repository, "rev-parse", "HEAD") != tested
    assert git(repository, "rev-parse", "v1.2.3^{commit}") == tested
