"""Clients without a key against a running exporter: scrapes and health go on, memory is bounded, the log is
quiet. All have the address of the scraper, which is the harder case."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from bench.queues import fill
from lab.deadline import wait_until
from lab.redis import start_redis
from tests.support.attackers import attack, vanish
from tests.support.system import Program, running

pytestmark = pytest.mark.timeout(120)  # up to 25 s alone

HEALTH_SECONDS = 1.0
SCRAPE_SECONDS = 10.0
IDENTITY = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: identity\r\n\r\n"


@contextmanager
def descriptor_limit(limit: int) -> Iterator[None]:
    """That of the processes that are started meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def exporter_of(folder: Path, queues: int, limit: int = 1024) -> Iterator[Program]:
    """With systemd's default limit of descriptors, and without a key."""
    with ExitStack() as undo:
        redis = undo.enter_context(start_redis())
        fill(redis.port, queues=queues, jobs_per_queue=1)
        with descriptor_limit(limit):
            starting = running(folder, "monitor", {"REDIS_URL": redis.url}, {}, key=None)
            program = undo.enter_context(starting)
        wait_until(
            lambda: program.samples().get("bullmq_queues") == queues, what="all queues are known", seconds=60
        )
        yield program
        assert "Traceback" not in program.log.read_text()


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with exporter_of(tmp_path_factory.mktemp("exporter"), 400) as program:
        yield program


def patience() -> float:
    """1 where each process that runs has a core of its own."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def took(program: Program, path: str, source: str = "127.0.0.1") -> float:
    """Seconds of an answer on a connection of its own, from this address."""
    with httpx.Client(transport=httpx.HTTPTransport(local_address=source), timeout=30) as client:
        begun = time.monotonic()
        answer = client.get(program.url + path)
        seconds = time.monotonic() - begun
    assert answer.status_code == 200, answer.text
    return seconds


def serves(program: Program, seconds: float, source: str = "127.0.0.1") -> None:
    """Look for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        health, scrape = took(program, "/healthz", source), took(program, "/metrics", source)
        looked = health, scrape, patience()
        assert health < HEALTH_SECONDS * patience(), looked
        assert scrape < SCRAPE_SECONDS * patience(), looked
        time.sleep(0.05)


def resident(program: Program) -> float:
    """Megabytes."""
    return float(psutil.Process(program.process.pid).memory_info().rss) / 1e6


def address_of(program: Program) -> tuple[str, int]:
    host, _, port = program.url.removeprefix("http://").rpartition(":")
    return host, int(port)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("kind", "count", "source"),
    [
        ("headers", 1200, "127.0.0.1"),
        ("bodies", 1200, "127.0.0.1"),
        ("readers", 400, "127.0.0.1"),
        ("readers", 700, "127.0.0.9"),
    ],
)
def test_slow_clients_do_not_keep_scrapes_out(exporter: Program, kind: str, count: int, source: str) -> None:
    """Readers are scrapers until they do not read: of too many from one address some true ones have to go."""
    with attack(exporter.url, kind, count):
        serves(exporter, 6, source)
    wait_until(lambda: exporter.samples()["oxherd_http_connections"] < 10, what="they are gone")
    samples = exporter.samples()
    assert samples["oxherd_http_max_connections"] == 512  # half of the descriptors
    assert count < 512 or samples['oxherd_http_refused_total{reason="full"}'] > 0


@pytest.mark.fault
def test_scrapers_that_are_gone_do_not_delay_others(exporter: Program) -> None:
    vanish(exporter.url, 2000)
    assert took(exporter, "/metrics") < SCRAPE_SECONDS / 2 * patience()
    with attack(exporter.url, "scrapers", 4):
        serves(exporter, 4)
    process = psutil.Process(exporter.process.pid)
    wait_until(lambda: process.num_fds() < 100, what="no connection is left")


@pytest.mark.fault
def test_answers_that_nobody_reads_take_bounded_memory(exporter: Program) -> None:
    before = resident(exporter)
    connections = [socket.create_connection(address_of(exporter), timeout=10) for _ in range(100)]
    try:
        for _ in range(20):
            for connection in connections:
                try:
                    connection.sendall(IDENTITY)
                except OSError:
                    continue
            assert took(exporter, "/healthz") < HEALTH_SECONDS * patience()
        for _ in range(10):
            took(exporter, "/metrics")
        assert resident(exporter) < before + 64
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.fault
def test_clients_that_reset_after_their_answer_take_bounded_memory(exporter: Program) -> None:
    before = resident(exporter)
    with attack(exporter.url, "resetters", 4):
        serves(exporter, 8)
        assert resident(exporter) - before < 32


@pytest.mark.fault
def test_two_hundred_scrapes_at_once_share_an_answer(exporter: Program) -> None:
    before = resident(exporter)
    connections = [socket.create_connection(address_of(exporter), timeout=10) for _ in range(200)]
    for connection in connections:
        connection.sendall(IDENTITY.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    begun = time.monotonic()
    sizes = []
    for connection in connections:
        size = 0
        while part := connection.recv(1 << 16):
            size += len(part)
        sizes.append(size)
        connection.close()
    assert min(sizes) > 100_000
    assert time.monotonic() - begun < SCRAPE_SECONDS * patience()
    assert resident(exporter) < before + 64


@pytest.mark.fault
def test_without_a_file_descriptor_it_makes_room(tmp_path: Path) -> None:
    """The limit is lowered below what is in use, as if all else had taken them."""
    with exporter_of(tmp_path, 10) as program:
        process = psutil.Process(program.process.pid)
        hard = process.rlimit(psutil.RLIMIT_NOFILE)[1]
        process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 20, hard))
        waiting = [socket.create_connection(address_of(program), timeout=10) for _ in range(60)]
        for connection in waiting:
            with suppress(OSError):  # the first of them had to make room
                connection.sendall(IDENTITY[:20])
        serves(program, 3)
        for connection in waiting:
            connection.close()
        process.rlimit(psutil.RLIMIT_NOFILE, (1024, hard))
        assert program.log.read_text().count("connections not accepted") == 1


@pytest.mark.fault
@pytest.mark.long
@pytest.mark.timeout(300)
def test_an_attacker_with_two_thousand_connections(tmp_path: Path) -> None:
    """Endless headers, bodies and slow reads for a minute, at 1,000 queues."""
    with exporter_of(tmp_path, 1000, 20_000) as program, ExitStack() as undo:
        for kind, count in (("headers", 700), ("bodies", 650), ("readers", 650)):
            undo.enter_context(attack(program.url, kind, count))
        until, most = time.monotonic() + 60, 0.0
        while time.monotonic() < until:
            serves(program, 1)
            most = max(most, resident(program))
        assert most < 256
