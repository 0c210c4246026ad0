"""What is between us and Redis delays, cuts and changes its answers: the scrape is answered, and all is well
once the wire is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.cluster import LocalCluster
from lab.deadline import wait_until
from lab.ports import free_port
from lab.redis import RedisServer
from lab.wires import (
    MODES,
    BadWire,
    Send,
    as_it_is,
    bad_wire,
    cut,
    endless,
    late,
    pushes,
    reset,
    slow,
    swallowed,
)
from tests.support.scrapes import Values, get, scrape
from tests.support.starving import started

pytestmark = [pytest.mark.fault, pytest.mark.timeout(240)]  # 3 to 12 s each alone

QUEUES = 50
HONEST = (
    late,
    slow,
    cut,
    reset,
    swallowed,
    pushes,
)  # what comes is what the server sent, as far as it is read
SECONDS = 3.0  # of a scrape


@pytest.fixture
def wire(fresh_redis: RedisServer) -> Iterator[BadWire]:
    for number in range(QUEUES):
        fresh_redis.cli("hset", f"bull:q{number}:meta", "version", "bullmq:5")
        fresh_redis.cli("lpush", f"bull:q{number}:wait", "1", "2")
    with bad_wire(fresh_redis.host, fresh_redis.port) as opened:
        yield opened


def is_read(values: Values) -> bool:
    waiting = [
        value
        for (name, labels), value in values.items()
        if name == "bullmq_job_count" and ("state", "waiting") in labels
    ]
    return waiting == [2] * QUEUES and get(values, "bullmq_up") == 1


def complete(redis: RedisServer, count: int) -> None:
    """Events of so many jobs that end."""
    for number in range(count):
        redis.cli("xadd", "bull:q0:events", "*", "event", "completed", "jobId", number, "prev", "active")


def completed(url: str) -> float | None:
    with suppress(httpx.HTTPError):
        return get(scrape(url), "bullmq_job_completed_total", prefix="bull", queue="q0")
    return None


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.__name__)
def test_a_scrape_is_answered_whatever_the_wire_does_and_all_is_well_once_it_is(
    wire: BadWire, fresh_redis: RedisServer, mode: Send
) -> None:
    settings = {"redis": {"url": f"redis://{wire.address}"}, "listen": "127.0.0.1:0"}
    exporter = Exporter(ExporterSettings.model_validate(settings))
    exporter.start()
    url = f"http://{exporter.address}"
    try:
        wait_until(lambda: is_read(scrape(url)), what="all queues are read", seconds=60)
        wait_until(lambda: completed(url) == 0, what="its events are followed", seconds=60)
        complete(fresh_redis, 5)
        wait_until(lambda: completed(url) == 5, what="events are read", seconds=60)
        wire.mode = mode
        for _ in range(3):
            complete(fresh_redis, 5)
            begun = time.monotonic()
            scrape(url, seconds=SECONDS)
            assert time.monotonic() - begun < SECONDS
            assert httpx.get(f"{url}/healthz", timeout=1).status_code == 200
        wire.mode = as_it_is
        wait_until(lambda: is_read(scrape(url)), what="all queues are read again", seconds=60)
        if mode in HONEST:
            wait_until(lambda: completed(url) == 20, what="no event is missed, none counts twice", seconds=30)
        counted = completed(url)
        assert counted is not None
        complete(fresh_redis, 5)
        wait_until(lambda: (completed(url) or 0) >= counted + 5, what="events are read again", seconds=30)
        wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 200, what="it is ready", seconds=60)
    finally:
        assert exporter.stop()


ENDLESS = {
    "bulk": endless(b"$4000000000\r\n", b"x"),
    "announced": endless(b"*900000000\r\n", b""),
    "lists": endless(b"*2400000\r\n", b"*0\r\n"),
    "nested": endless(b"", b"*3\r\n"),
    "errors": endless(b"*2400000\r\n", b"-\r\n"),
    "texts": endless(b"*2400000\r\n", b"$2\r\nxy\r\n"),
}
MOST = (
    200 << 20
)  # bytes of memory above what it had: 64 MiB, or one reply of the largest, twice while they grow

LEFT = 80 << 20  # of it, after another collection


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_redis_that_never_ends_its_reply_costs_bounded_memory(
    wire: BadWire, kind: str, tmp_path: Path
) -> None:
    flooded([wire], kind, tmp_path)


@pytest.fixture
def cluster_wires(fresh_cluster: LocalCluster) -> Iterator[list[BadWire]]:
    """A wire before each of six nodes, which all nodes announce instead of their own port."""
    for number in range(QUEUES):
        fresh_cluster.cli("hset", f"bull:{{q{number}}}:meta", "version", "bullmq:5")
        fresh_cluster.cli("lpush", f"bull:{{q{number}}}:wait", "1", "2")
    with ExitStack() as stack:
        wires = [stack.enter_context(bad_wire(node.host, node.port)) for node in fresh_cluster.nodes]
        for node, wire in zip(fresh_cluster.nodes, wires, strict=True):
            node.cli("config", "set", "cluster-announce-port", wire.address.rpartition(":")[2])
        announced = {wire.address for wire in wires}
        wait_until(
            lambda: all(
                {member.address for member in fresh_cluster.members(node)} == announced
                for node in fresh_cluster.nodes
            ),
            what="all nodes announce the wires",
        )
        yield wires


@pytest.mark.parametrize("kind", ["bulk", "lists"])
def test_six_nodes_that_never_end_their_replies_cost_no_more_than_one(
    cluster_wires: list[BadWire], kind: str, tmp_path: Path
) -> None:
    flooded(cluster_wires, kind, tmp_path)


def flooded(wires: list[BadWire], kind: str, folder: Path) -> None:
    """All of them at once: memory stays bounded, it answers meanwhile, and reads all again afterwards."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    environ = {
        "REDIS_URL": f"redis://{wires[0].address}",
        "EXPORTER_LISTEN": f"127.0.0.1:{port}",
        "MALLOC_ARENA_MAX": "1",  # as in the units and manifests: each arena keeps what was freed in it
    }
    with started("exporter", "start", log=folder / "log", environ=environ, as_user=False) as program:

        def reads() -> bool:
            with suppress(httpx.HTTPError):
                return is_read(scrape(url))
            return False

        wait_until(reads, what="all queues are read", seconds=30)
        before = program.memory_info().rss
        for wire in wires:
            wire.mode = ENDLESS[kind]
        answered = []
        for _ in range(3):
            with suppress(httpx.HTTPError):
                scrape(url, seconds=SECONDS)
            begun = time.monotonic()
            assert httpx.get(f"{url}/healthz", timeout=10).status_code == 200
            answered.append(time.monotonic() - begun)
        assert min(answered) < 1.5, answered  # one may be late on a machine that has much else to do
        for wire in wires:
            wire.mode = as_it_is
        assert high_water(program.pid) - before < MOST
        wait_until(
            lambda: reads() and program.memory_info().rss - before < LEFT,
            what="all queues are read again, and memory is given back",
            seconds=60,
        )


def high_water(pid: int) -> int:
    """The most bytes of memory that the process ever had."""
    (line,) = [
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")
    ]
    return int(line.split()[1]) << 10
