"""Commands that an issue or the doctor recommends are pasted into a shell; their names come from outside."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.conditions.advice import ADVICE, Context
from exporter.conditions.finding import redis_cli
from exporter.config.validation import load_exporter_settings
from exporter.doctor.checks.table import diagnose
from exporter.doctor.examination import (
    AlertmanagerLook,
    Examination,
    PrometheusLook,
    ScalerTarget,
    ScrapeTarget,
)
from service.i18n import Message
from service.outcome import Ok
from service.units import printable_lines

CANARY = "touch canary"
ATTACKS = (
    f"; {CANARY};",
    f"$({CANARY})",
    f"`{CANARY}`",
    f"'; {CANARY} #",
    f'"; {CANARY} #',
    f"\n{CANARY}\n",
    f"\r{CANARY}\r",
    f"x\x1b[201~\n{CANARY}\n",
    f"| {CANARY}",
    f"&& {CANARY} &",
    "-h$(touch canary)",
)
PROGRAMS = ("redis-cli", "openssl", "getent", "curl", "timeout", "grep")


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    """Runs lines as they are shown, where every program of an advice does nothing; whether an attack ran."""
    programs, work = tmp_path / "bin", tmp_path / "work"
    programs.mkdir()
    work.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text("#!/bin/sh\ncat >/dev/null\n")
        (programs / name).chmod(0o755)
    environ = {"PATH": f"{programs}:{os.environ['PATH']}"}

    def attacked(lines: str) -> bool:
        subprocess.run(
            ["bash", "-c", printable_lines(lines)],
            cwd=work,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=20,
        )
        return (work / "canary").exists()

    assert attacked(f"redis-cli {CANARY}; {CANARY}")
    (work / "canary").unlink()
    return attacked


def texts(message: Message) -> Iterator[str]:
    """The parameters that are commands."""
    for value in message.parameters.values():
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Message):
                yield from texts(part)
            elif isinstance(part, str) and part.split(" ")[0] in PROGRAMS:
                yield part


@pytest.mark.fault
@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_no_name_in_an_advice_is_run_by_the_shell(shell: Any, attack: str) -> None:
    lookup = f"{attack.replace(' ', '${IFS}')}:1: the host name cannot be resolved"
    commands = {redis_cli(f"{attack}:6379"), redis_cli(f"/{attack}")}
    for row in ADVICE:
        for text in (attack, lookup, f"no permissions to run the '{attack}' command"):
            message = row.text(Context("error", text, f"{attack}:6379", key=f"{attack}:{attack}:"))
            commands |= set(texts(message))
    assert len(commands) > 10
    assert not shell("\n".join(sorted(commands)))


@pytest.mark.fault
@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_no_name_in_a_finding_of_the_doctor_is_run_by_the_shell(shell: Any, attack: str) -> None:
    loaded = load_exporter_settings(
        "api: {prometheus_url: 'http://p:9090', scaler_url: 'http://s:1'}", {}, file="e"
    )
    look = PrometheusLook(
        targets=(ScrapeTarget("oxherd", f"{attack}:9877", up=False, error=attack),),
        alertmanagers=(AlertmanagerLook(f"http://{attack}", answers=False),),
    )
    scaler = (ScalerTarget(attack, attack, (attack,), attack),)
    diagnoses = diagnose(Examination(loaded, prometheus=Ok(look), scaler=Ok(scaler)))
    lines = [
        line
        for diagnosis in diagnoses
        for fix in diagnosis.fixes
        if fix.place in ("shell", "environment")
        for line in fix.lines
    ]
    assert lines
    assert not shell("\n".join(lines))
