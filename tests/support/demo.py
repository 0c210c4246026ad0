"""`make demo` as a process, on other ports."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import httpx
import pytest

from lab.deadline import wait_until
from lab.ports import BUS_OFFSET, free_port, free_ports

ROOT = Path(__file__).parents[2]

FASTER = 120
"""A cooldown of 10 minutes takes 5 s, the range of an hour in HighFailedJobs 30 s."""


@dataclass
class RunningDemo:
    """A demo on other than the default ports, and its output so far."""

    process: subprocess.Popen[str]
    nodes: range
    exporter: int
    prometheus: int
    alertmanager: int
    scaler: int
    lines: list[str]

    def wait_for(self, pattern: str, *, seconds: float = 60) -> re.Match[str]:
        """The first line that matches, printed already or later; the failure shows all lines."""

        def found() -> re.Match[str] | None:
            ended = self.process.poll() is not None
            match = next((match for line in list(self.lines) if (match := re.search(pattern, line))), None)
            assert match or not ended, f"the demo ended with {self.process.returncode}: {self.printed}"
            return match

        try:
            match = wait_until(found, what=pattern, seconds=seconds, every=0.05)
        except TimeoutError as error:
            pytest.fail(f"{error}:\n{self.printed}")
        assert match
        return match

    @property
    def printed(self) -> str:
        return "".join(self.lines)

    def type(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, action: str) -> subprocess.CompletedProcess[str]:
        return ask(action, redis_port=self.nodes[0])

    def stop(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)
        self.wait_for("everything is stopped", seconds=60)
        assert self.process.wait(timeout=10) == 0

    @property
    def ports(self) -> list[int]:
        buses = [port + BUS_OFFSET for port in self.nodes]
        return [*self.nodes, *buses, self.exporter, self.prometheus, self.alertmanager, self.scaler]


def ask(action: str, *, redis_port: int) -> subprocess.CompletedProcess[str]:
    """Perform an action from another terminal."""
    command = [sys.executable, "-m", "deploy.demo", "break", action, f"--redis-port={redis_port}"]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)


@contextmanager
def run_demo(*, exporter: int | None = None) -> Iterator[RunningDemo]:
    """A demo; it is stopped at the end of the block."""
    nodes, exporter, prometheus, alertmanager, scaler = (
        free_ports(6),
        exporter or free_port(),
        free_port(),
        free_port(),
        free_port(),
    )
    ports = {
        "--redis-port": nodes[0],
        "--exporter-port": exporter,
        "--prometheus-port": prometheus,
        "--alertmanager-port": alertmanager,
        "--scaler-port": scaler,
    }
    options = [f"{name}={value}" for name, value in {**ports, "--faster": FASTER}.items()]
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", "deploy.demo", *options],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        reader = Thread(target=lines.extend, args=(process.stdout,))
        reader.start()
        try:
            yield RunningDemo(process, nodes, exporter, prometheus, alertmanager, scaler, lines)
        finally:
            if process.poll() is None:
                process.terminate()
            reader.join(timeout=60)


def query(demo: RunningDemo, expression: str) -> list[tuple[dict[str, str], float]]:
    response = httpx.get(
        f"http://127.0.0.1:{demo.prometheus}/api/v1/query", params={"query": expression}
    ).json()
    return [(series["metric"], float(series["value"][1])) for series in response["data"]["result"]]
