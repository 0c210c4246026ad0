"""`monitor doctor` as a process, and its fixes pasted as a person would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MONITOR: Final = Path(sys.executable).with_name("monitor")
_SETTINGS: Final = (
    *("REDIS_", "BULLMQ_", "EXPORTER_", "MONITORING_", "ENABLE_", "SCALER_", "PROMETHEUS_", "LOG_"),
)


@dataclass(frozen=True)
class Found:
    """What `monitor doctor --json` printed, and the environment it ran with."""

    code: int
    findings: tuple[Mapping[str, Any], ...]
    text: str

    def of(self, check: str) -> Mapping[str, Any]:
        """The worst finding of a check."""
        return next(finding for finding in self.findings if finding["check"] == check)

    def status(self, check: str) -> str:
        return str(self.of(check)["status"])

    def lines(self, check: str, place: str) -> list[str]:
        """The lines of the fix for a place."""
        return next(list(fix["lines"]) for fix in self.of(check)["fixes"] if fix["place"] == place)

    @property
    def bad(self) -> set[str]:
        """The checks that found something."""
        return {finding["check"] for finding in self.findings if finding["status"] in ("wrong", "warning")}


def doctor(environ: Mapping[str, str], *arguments: str, before: Sequence[str] = ()) -> Found:
    """Run it with these variables only, after the lines of a fix in the same shell."""
    script = "\n".join([*before, f'exec "{MONITOR}" doctor --json "$@"'])
    done = subprocess.run(
        ["bash", "-e", "-c", script, "doctor", *arguments],
        env=own_environment() | dict(environ),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    data = json.loads(done.stdout)
    assert data["code"] == done.returncode
    return Found(done.returncode, tuple(data["findings"]), done.stdout)


def look_and_mend(
    own: Mapping[str, str], check: str, place: str = "shell", *, status: str = ""
) -> tuple[Found, Found]:
    """Look, paste the fix that is printed for a place, and look again: what was found, which must be of this
    status, or of any that is bad, and what is found then, which must be good. Lines for the environment are
    for the second look."""
    found = doctor(own)
    assert found.status(check) == status if status else check in found.bad, found.of(check)
    lines = found.lines(check, place)
    if place == "environment":
        again = doctor(own, before=lines)
    else:
        paste(lines)
        again = doctor(own)
    assert again.status(check) == "good", again.of(check)
    return found, again


def paste(lines: Sequence[str]) -> str:
    """The output of the lines in a shell; they must succeed."""
    done = subprocess.run(
        ["bash", "-e", "-c", "\n".join(lines)],
        env=own_environment(),
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def own_environment() -> dict[str, str]:
    """The environment without settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
