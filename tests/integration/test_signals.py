"""A signal to end is heard whatever the main thread does when it comes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """
import io, logging, os, signal, sys
from service.lifecycle import serve
from service.logs import configure


class Raw(io.RawIOBase):
    # Standard error: the signal comes while a line is written.
    def writable(self): return True
    def write(self, data):
        line = bytes(data)
        if b"event=listening" in line:
            os.kill(os.getpid(), signal.Signals[sys.argv[1]])
        return os.write(2, line)


class Program:
    address, serving = "127.0.0.1:1", True
    def start(self): pass
    def stop(self): return True


sys.stderr = io.TextIOWrapper(io.BufferedWriter(Raw()), line_buffering=True)
configure("info", "logfmt")
sys.exit(serve(Program()))
"""


def ended(name: str) -> tuple[int, list[str]]:
    """The exit code and the events after this signal, which whoever started the tests may ignore."""
    command = ["env", f"--default-signal={name}", sys.executable, "-c", PROGRAM, name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)
    return done.returncode, [line.partition(" event=")[2].split()[0] for line in done.stderr.splitlines()]


@pytest.mark.fault
def test_a_signal_while_a_line_is_logged_is_not_lost() -> None:
    assert ended("SIGTERM") == (0, ["listening", "stopping", "stopped"])


@pytest.mark.fault
def test_a_terminal_that_is_closed_or_a_reload_by_habit_ends_it_in_order() -> None:
    assert ended("SIGHUP") == (0, ["listening", "stopping", "stopped"])
