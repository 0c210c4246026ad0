"""The whole system as processes, with keys: Redis, BullMQ's jobs, the exporter, the scaler behind it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.ports import free_port
from lab.redis import RedisServer
from tests.support.fake_prometheus import FakePrometheus

PATH = "/api/monitoring"

FULL, READ = "the-full-key-of-these-tests", "the-read-key-of-these-tests"

PASSWORD = "redis-password-of-these-tests"


@dataclass
class Program:
    """The exporter or the scaler; `log` has its whole output."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    key: str | None = FULL
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        headers = {"x-api-key": self.key} if self.key else {}
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=20)

    def ask(self, action: str = "", **query: str) -> Any:
        """The data of an answer that has to be a success."""
        response = self.client.get(PATH, params=({"action": action} if action else {}) | query)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    def post(self, action: str, **body: Any) -> httpx.Response:
        return self.client.post(PATH, json={"action": action, **body})

    def command(self, action: str, **body: Any) -> Any:
        """The data of the response to a command that has to be a success."""
        response = self.post(action, **body)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    def page(self) -> str:
        """The status page, as one sees it who has signed in."""
        with httpx.Client(base_url=self.client.base_url, follow_redirects=True, timeout=30) as browser:
            browser.post("/sign-in", data={"key": self.key or ""})
            return browser.get("/").text

    def samples(self) -> dict[str, float]:
        """/metrics, by the text before the value."""
        lines = self.client.get("/metrics", headers={"x-api-key": ""}).text.splitlines()
        pairs = [line.rpartition(" ") for line in lines if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in pairs}


@contextmanager
def running(
    folder: Path,
    command: str,
    environ: Mapping[str, str],
    settings: Mapping[str, Any],
    key: str | None = FULL,
    port: int | None = None,
    through: Sequence[str] = (),
) -> Iterator[Program]:
    """`monitor start` or `scaling start`, until the block ends; without `port` on a free one. `through` is a
    command that becomes it."""
    name = "exporter" if command == "monitor" else "scaler"
    config, log, port = folder / f"{name}.yml", folder / f"{name}.log", port or free_port()
    config.write_text(yaml.safe_dump(dict(settings)))
    arguments = ["start", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*through, sys.executable, "-m", name, *arguments],
            env=os.environ | dict(environ),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    program = Program(process, f"http://127.0.0.1:{port}", log, key)
    try:
        wait_until(lambda: _ready(program), what=f"{name} is ready", seconds=60)
        yield program
    finally:
        program.client.close()
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _ready(program: Program) -> bool:
    if program.process.poll() is not None:
        raise AssertionError(program.log.read_text())
    try:
        return program.client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@dataclass
class System:
    redis: RedisServer
    library: BullMQ
    prometheus: FakePrometheus
    exporter: Program
    scaler: Program
    folder: Path


TARGETS = [
    {
        "name": "mail",
        "queues": ["notifications"],
        "processes": {"command": ["sleep", "1000"], "grace_seconds": 1, "ready_seconds": 0},
        "policy": "threshold",
        "min_workers": 1,
        "max_workers": 12,
    }
]


def spec_of(program: Program) -> Any:
    """Its description."""
    return json.loads(program.client.get("/openapi.json", headers={"x-api-key": ""}).text)
