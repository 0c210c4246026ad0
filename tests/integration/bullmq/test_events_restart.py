"""The exporter is killed under load and begins again: with a state file the totals stay the workers' own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.ports import free_port
from lab.redis import RedisServer

pytestmark = pytest.mark.timeout(120)  # 9 s alone, under load

GONE: dict[str, Any] = {"removeOnComplete": True, "removeOnFail": True}


@contextmanager
def exporter(server: RedisServer, state: Path, queue: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    environ = os.environ | {
        "REDIS_URL": server.url,
        "BULLMQ_QUEUES": queue,
        "BULLMQ_STATE_FILE": str(state),
        "LOG_LEVEL": "warning",
    }
    command = [sys.executable, "-m", "exporter", "start", "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, env=environ)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def counter(port: int, name: str, queue: str) -> int | None:
    """What it serves now; None while it does not."""
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5, trust_env=False).text
    except httpx.TransportError:
        return None
    head = f'{name}{{prefix="bull",queue="{queue}"}} '
    lines = [line for line in text.splitlines() if line.startswith(head)]
    return int(float(lines[0].rpartition(" ")[2])) if lines else None


def written(file: Path) -> int:
    """When, in ns; 0 for never."""
    return file.stat().st_mtime_ns if file.exists() else 0


@pytest.mark.fault
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_totals_over_a_restart_under_load(server: RedisServer, tmp_path: Path, how: signal.Signals) -> None:
    queue, port, state = f"again-{how.name}", free_port(), tmp_path / "state"
    values: list[int] = []

    def completed() -> int | None:
        value = counter(port, "bullmq_job_completed_total", queue)
        if value is not None:
            values.append(value)
        return value

    with BullMQ(6, url=server.url) as bullmq:
        with exporter(server, state, queue, port) as first:
            wait_until(lambda: completed() == 0, what="it is followed", seconds=60)
            worker = bullmq.start_worker(queue, concurrency=4, behaviour={"fail_first": 1, "ms": 20})
            added = 0
            before = written(state)

            def written_under_load() -> bool:
                nonlocal added
                bullmq.add_bulk(queue, 10, attempts=2, backoff={"type": "fixed", "delay": 30}, **GONE)
                added += 10
                completed()
                return written(state) > before

            wait_until(written_under_load, what="the file is written under load", seconds=60, every=0.2)
            written_under_load()  # what no file has yet
            first.send_signal(how)
            first.wait(10)
        bullmq.add_bulk(queue, 40, attempts=2, **GONE)
        added += 40
        with exporter(server, state, queue, port):
            wait_until(lambda: completed() == added, what=f"{added} completed", seconds=60)
            own = bullmq.tally(worker)
            assert own["returned"] == added
            assert counter(port, "bullmq_job_started_total", queue) == own["started"]
            assert counter(port, "bullmq_job_retried_total", queue) == own["threw"]
            assert counter(port, "bullmq_job_added_total", queue) == added
            assert counter(port, "bullmq_events_lost_total", queue) == 0
    assert values == sorted(values)


def test_a_state_file_that_cannot_be_kept_is_refused_at_start(server: RedisServer, tmp_path: Path) -> None:
    state = tmp_path / "nowhere" / "state"
    with exporter(server, state, "refused", free_port()) as process:
        assert process.wait(20) == 2
