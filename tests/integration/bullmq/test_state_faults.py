"""The exporter's state file, broken by hand, of another kind, on a full disk: nothing else is lost for it."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.deadline import wait_until
from lab.ports import free_port
from lab.process import ChildProcess
from lab.redis import RedisServer
from tests.support.large_streams import add_completed
from tests.support.scrapes import Values, get, scrape
from tests.support.state_entries import BROKEN, broken

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]  # 5 to 15 s alone

Start = Callable[..., ChildProcess]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def start(server: RedisServer, tmp_path: Path, port: int) -> Iterator[Start]:
    """`start("a", "b")`: an exporter of these queues, in a process of its own."""
    started: list[ChildProcess] = []

    def begin(*queues: str) -> ChildProcess:
        environ = os.environ | {
            "REDIS_URL": server.url,
            "BULLMQ_QUEUES": ",".join(queues),
            "BULLMQ_STATE_FILE": str(tmp_path / "state"),
            "LOG_FORMAT": "json",
        }
        command = [sys.executable, "-m", "exporter", "start", "--listen", f"127.0.0.1:{port}"]
        log = tmp_path / f"log-{len(started)}"
        started.append(ChildProcess(command, name="exporter", log=log, environ=environ))
        return started[-1]

    try:
        yield begin
    finally:
        for process in started:
            end(process)


def end(process: ChildProcess) -> None:
    if process.is_running():
        os.kill(process.pid, signal.SIGTERM)
        process.wait(seconds=20)


def series(process: ChildProcess, port: int) -> Values:
    """A scrape; empty while it does not listen. Raises as soon as it has ended, and where a scrape fails."""
    process.check()
    try:
        return scrape(f"http://127.0.0.1:{port}")
    except httpx.TransportError:
        return {}


def completed(values: Values, queue: str) -> float | None:
    return get(values, "bullmq_job_completed_total", prefix="bull", queue=queue)


def logged(process: ChildProcess, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in process.log.read_text().splitlines() if line[:1] == "{"]
    return [line for line in lines if line["event"] == event]


def known(process: ChildProcess, port: int, *queues: str) -> Values:
    """A scrape in which each of them has its counters."""

    def found() -> Values | None:
        values = series(process, port)
        return values if all(completed(values, queue) is not None for queue in queues) else None

    return wait_until(found, what=f"counters of {len(queues)} queues", seconds=60, every=0.2) or {}


def counts(process: ChildProcess, port: int, queue: str, number: int) -> None:
    wait_until(
        lambda: completed(series(process, port), queue) == number,
        what=f"{number} of {queue}",
        seconds=30,
        every=0.2,
    )


def test_what_a_hand_broke_in_one_entry_costs_no_other_queue(
    server: RedisServer, start: Start, port: int, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    queues = ["whole", *(f"broken{number}" for number in range(len(BROKEN)))]
    for queue in queues:
        server.cli("hset", f"bull:{queue}:meta", "version", "bullmq:5.0.0")
    first = start(*queues)
    known(first, port, *queues)
    for queue in queues:
        add_completed(server, queue, [10] * 3)
    for queue in queues:
        counts(first, port, queue, 3)
    end(first)
    head, *lines = state.read_text().splitlines()
    entries = {entry["name"]: entry for entry in map(json.loads, lines)}
    for number, (part, value) in enumerate(BROKEN):
        entries[f"broken{number}"] = broken(entries[f"broken{number}"], part, value)
    state.write_text("\n".join([head, *map(json.dumps, entries.values()), "{ torn", ""]))
    for queue in queues:
        add_completed(server, queue, [10] * 2)
    again = start(*queues)
    known(again, port, *queues)
    counts(again, port, "whole", 5)
    named = {line["queue"]: line["error"] for line in logged(again, "checkpoint of a queue not usable")}
    assert named.keys() == set(queues[1:])
    assert [line["line"] for line in logged(again, "checkpoint line not usable")] == [len(queues) + 2]
    for queue in queues:
        add_completed(server, queue, [10])
    counts(again, port, "whole", 6)
    for queue in queues[1:]:
        counts(again, port, queue, 1)


def test_a_state_file_that_is_a_fifo_never_hangs_a_start(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state")
    refused = start("mail")
    refused.wait(seconds=20)
    assert "BULLMQ_STATE_FILE" in refused.tail()
    assert "it is not a regular file" in refused.tail()


def test_a_huge_state_file_is_set_aside(start: Start, port: int, server: RedisServer, tmp_path: Path) -> None:
    with (tmp_path / "state").open("wb") as file:
        file.truncate(1 << 40)
    server.cli("hset", "bull:huge:meta", "version", "bullmq:5.0.0")
    running = start("huge")
    known(running, port, "huge")
    [line] = logged(running, "checkpoint not usable, counting from 0")
    assert "larger than 128 MiB" in line["error"]
    assert (tmp_path / "state.unusable").stat().st_size == 1 << 40


def test_links_beside_the_state_file_are_not_followed(
    start: Start, port: int, server: RedisServer, tmp_path: Path
) -> None:
    """But for the state file itself, whose target is replaced."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "data").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "data" / "real")
    for name in ("state.new", "data/real.new", "data/real.new-1"):
        (tmp_path / name).symlink_to(precious)
    server.cli("hset", "bull:linked:meta", "version", "bullmq:5.0.0")
    running = start("linked")
    known(running, port, "linked")
    add_completed(server, "linked", [10])
    counts(running, port, "linked", 1)
    end(running)
    assert (tmp_path / "state").is_symlink()
    assert '"linked"' in (tmp_path / "data" / "real").read_text()
    assert precious.read_text() == "precious"


def test_a_full_disk_is_told_and_costs_only_the_file(
    start: Start, port: int, server: RedisServer, tmp_path: Path
) -> None:
    """A limit of the process takes the part of the disk: each write fails, and then none."""
    server.cli("hset", "bull:full:meta", "version", "bullmq:5.0.0")
    running, state = start("full"), tmp_path / "state"

    def told(name: str, **labels: str) -> float | None:
        return get(series(running, port), name, **labels)

    known(running, port, "full")
    wait_until(state.exists, what="it is written", seconds=30)
    assert told("oxherd_state_write_errors_total") == 0
    limit = resource.prlimit(running.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (0, limit[1]))
    before = state.read_bytes()
    add_completed(server, "full", [10] * 5)
    wait_until(lambda: told("oxherd_state_write_errors_total") == 1, what="a failed write", seconds=30)
    wait_until(
        lambda: (told("oxherd_health_penalty", issue="state_not_written") or 0) > 0,
        what="the issue",
        seconds=30,
    )
    counts(running, port, "full", 5)
    assert state.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("state")) == ["state"]
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, limit)
    end(running)
    again = start("full")
    known(again, port, "full")
    counts(again, port, "full", 5)
