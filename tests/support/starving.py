"""A program as a user of its own, whose resources are taken away while it runs, and given back.

The limits are set from outside by prlimit(1), as its user: root of a container may not. Root has no limit of
processes, so that the program runs as another user where the tests are root's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from lab.programs import find_program

USER: Final = 54_321
"""No other process has it, so that a limit of processes counts the program's threads."""
MAY_SWITCH: Final = os.getuid() == 0

RESOURCES: Final = ("threads", "descriptors", "memory", "disk")
_LIMITS: Final = {
    "threads": "nproc",
    "descriptors": "nofile",
    "memory": "as",
    "disk": "fsize",
}


@contextmanager
def folder_of_its_user() -> Iterator[Path]:
    """A folder that the program may write to: pytest's own are closed to other users."""
    folder = Path(tempfile.mkdtemp(prefix="oxherd-starved-"))
    folder.chmod(0o755)
    if MAY_SWITCH:
        os.chown(folder, USER, USER)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def started(
    *arguments: str,
    log: Path,
    environ: Mapping[str, str],
    limits: Sequence[str] = (),
    as_user: bool = MAY_SWITCH,
) -> Iterator[psutil.Process]:
    """`python -m ARGUMENTS`, killed at the end. `limits`: options of prlimit that it starts with."""
    command = [*(["prlimit", *limits] if limits else []), *_switched(as_user), "--"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, sys.executable, "-m", *arguments],
            env={**os.environ, **environ},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    program = psutil.Process(process.pid)
    try:
        yield program
    finally:
        for child in program.children(recursive=True) if process.poll() is None else []:
            child.kill()
        process.kill()
        process.wait(10)


@contextmanager
def starved(program: psutil.Process, resource: str) -> Iterator[None]:
    """Nothing more of this resource than it has; as before at the end."""
    least = {"threads": 1, "descriptors": 3, "memory": program.memory_info().vms, "disk": 0}
    before, hard = _prlimit(program, f"--{_LIMITS[resource]}", "--output=SOFT,HARD").split()
    limit(program, resource, f"{least[resource]}:{hard}")
    try:
        yield
    finally:
        limit(program, resource, f"{before}:{hard}")


def limit(program: psutil.Process, resource: str, value: str) -> None:
    """Set the limit of a resource: SOFT:HARD, or one of the two."""
    _prlimit(program, f"--{_LIMITS[resource]}={value}")


def _prlimit(program: psutil.Process, *options: str) -> str:
    as_user = program.uids().real == USER
    command = [*_switched(as_user), "--", "prlimit", f"--pid={program.pid}", "--noheadings", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _switched(as_user: bool) -> list[str]:  # noqa: FBT001
    switch = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if as_user else []
    return [find_program("setpriv"), *switch, "--pdeathsig=KILL"]


def ended_by(program: psutil.Process, number: signal.Signals, seconds: float) -> int:
    """The exit code after a signal; raises psutil.TimeoutExpired."""
    program.send_signal(number)
    return int(program.wait(seconds))
