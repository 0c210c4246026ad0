"""scripts/setup.sh: changes nothing if nothing is missing, and reports what it cannot install."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)  # 3 s on an idle machine, 23 s on a busy one

SETUP = Path(__file__).parents[2] / "scripts" / "setup.sh"
BASICS = (
    "bash",
    "dirname",
    "flock",
    "cat",
    "cut",
    "sha256sum",
    "id",
    "env",
    "true",
    "tee",
    "rm",
    "mv",
    "chmod",
)


def run(*, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environ = os.environ | ({} if path is None else {"PATH": str(path)})
    bash = shutil.which("bash") or "bash"
    return subprocess.run([bash, SETUP], env=environ, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH with a shell and a few programs."""
    for name in BASICS:
        path = shutil.which(name)
        assert path is not None
        (tmp_path / name).symlink_to(path)
    return tmp_path


def write_program(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_second_run_prints_nothing() -> None:
    assert run().returncode == 0
    again = run()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_without_apt_the_packages_are_named(bare_path: Path) -> None:
    done = run(path=bare_path)
    assert done.returncode == 1
    assert (
        "lacks (Debian's names): redis-server redis-sentinel prometheus prometheus-alertmanager"
        in done.stderr
    )
    assert "no apt-get here" in done.stderr


def test_without_root_the_command_is_named(bare_path: Path) -> None:
    write_program(bare_path / "apt-get", "echo apt-get must not run >&2")
    write_program(bare_path / "id", "echo 1000")
    done = run(path=bare_path)
    assert done.returncode == 1
    assert "As root, run: apt-get install --no-install-recommends redis-server" in done.stderr
    assert "must not run" not in done.stderr


def test_the_output_of_apt_is_shown_if_it_fails(bare_path: Path) -> None:
    """As a user with a working sudo; this sudo runs only apt-get, so that policy-rc.d is not changed."""
    write_program(bare_path / "id", "echo 1000")
    write_program(bare_path / "sudo", 'shift; case "$*" in *apt-get*|true) "$@";; esac')
    write_program(bare_path / "apt-get", 'case "$*" in *install*) echo E: no space left; exit 100;; esac')
    done = run(path=bare_path)
    assert done.returncode == 1
    assert "E: no space left" in done.stderr
    assert "To try by hand, as root: apt-get install" in done.stderr
