"""What happens to Redis under an exporter that runs: it loads its data, sleeps, has no memory, drops all;
and what happens to the clock of the exporter's machine."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.ports import free_port
from lab.redis import RedisError, RedisServer, start_redis
from tests.support.scrapes import Values, get, scrape
from tests.support.starving import started

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]  # 5 to 25 s each alone

SCRAPES = 3600
MOST_GROWTH = 16  # MB, from the 300th on
KEYS = 60_000
JOBS = 11
STEPS = [3600, -7200, -86_400, 31_536_000, 0]  # seconds that the clock is ahead


@contextmanager
def running(server: RedisServer, folder: Path, *before: str) -> Iterator[tuple[psutil.Process, str]]:
    """An exporter of this server that has read all, and its URL. `before`: what stands before `exporter`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environ = {
        "REDIS_URL": server.url,
        "EXPORTER_LISTEN": f"127.0.0.1:{port}",
        "MONITORING_INTERVAL_MINUTES": "0.02",
        "BULLMQ_STATE_FILE": str(folder / "state"),
    }
    log = folder / "log"
    with started(*before, "exporter", "start", log=log, environ=environ, as_user=False) as program:
        wait_until(lambda: answers(url), what="it answers", seconds=30)
        yield program, url


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def up(values: Values) -> float | None:
    return next((value for (name, _), value in values.items() if name == "redis_up"), None)


def waiting(values: Values) -> float | None:
    return get(values, "bullmq_job_count", prefix="bull", queue="mail", state="waiting")


def conditions(url: str) -> dict[str, str]:
    """The text of each condition that is there, by its name."""
    answer = httpx.get(f"{url}/status.json", timeout=10).json()
    return {issue["name"]: str(issue) for issue in answer["health"]["issues"]}


def test_a_redis_that_loads_its_data(tmp_path: Path) -> None:
    config = ["loading-process-events-interval-bytes 1024", "enable-debug-command yes"]
    with start_redis(config=config) as server:
        server.cli("lpush", "bull:mail:wait", "1", "2")
        server.cli("hset", "bull:mail:meta", "version", "bullmq:5")
        server.cli("debug", "populate", KEYS, "filler")
        with running(server, tmp_path) as (_, url):
            wait_until(lambda: waiting(scrape(url)) == 2, what="the queue is counted", seconds=20)
            server.cli("save")
            with (server.directory / "redis.conf").open("a") as lines:
                lines.write("key-load-delay 150\n")  # microseconds: 60,000 keys take 9 s
            server.kill()
            server.process = server._start()
            wait_until(lambda: loads(server), what="it loads", seconds=10, every=0.02)
            begun = time.monotonic()
            values = scrape(url, seconds=5)
            assert time.monotonic() - begun < 5
            assert waiting(values) is None
            assert "LOADING" in conditions(url)["queue_system_down"]
            assert loads(server), "it was looked at while Redis loaded"
            wait_until(lambda: not loads(server), what="it has loaded", seconds=90)
            values = scrape(url)
            assert (up(values), waiting(values)) == (1, 2)
            assert "queue_system_down" not in conditions(url)


def loads(server: RedisServer) -> bool:
    try:
        return server.cli("get", "x", seconds=2).startswith("LOADING")
    except RedisError as error:
        return "LOADING" in str(error)


def test_a_redis_that_sleeps_in_one_command(tmp_path: Path) -> None:
    """DEBUG SLEEP, as of a Lua script or KEYS that takes seconds."""
    with start_redis(config=["enable-debug-command yes"]) as server:
        server.cli("hset", "bull:mail:meta", "version", "bullmq:5")
        server.cli("lpush", "bull:mail:wait", "1", "2")
        with running(server, tmp_path) as (_, url), ThreadPoolExecutor() as pool:
            wait_until(lambda: waiting(scrape(url)) == 2, what="the queue is counted", seconds=20)
            slept = pool.submit(server.cli, "debug", "sleep", 12, seconds=30)
            wait_until(lambda: up(scrape(url, seconds=5)) == 0, what="it is down", seconds=5)
            begun = time.monotonic()
            assert waiting(scrape(url, seconds=5)) is None
            assert time.monotonic() - begun < 5
            assert httpx.get(f"{url}/healthz", timeout=1).status_code == 200
            assert not slept.done()
            slept.result()
            wait_until(lambda: waiting(scrape(url)) == 2, what="it is read again", seconds=10)
            assert up(scrape(url)) == 1


def test_a_redis_over_its_memory(tmp_path: Path) -> None:
    with start_redis() as server, BullMQ(6, url=server.url) as bullmq:
        bullmq.add_bulk("mail", 5)
        with running(server, tmp_path) as (_, url):
            wait_until(lambda: waiting(scrape(url)) == 5, what="the queue is counted", seconds=20)
            server.cli("config", "set", "maxmemory", 1)
            with pytest.raises(RedisError, match="OOM"):
                server.cli("set", "a", "1")
            values = scrape(url)
            assert (up(values), waiting(values)) == (1, 5)
            assert "OOM" in conditions(url)["redis_writes_refused"]
            server.cli("config", "set", "maxmemory", 0)
            bullmq.add("mail")
            assert waiting(scrape(url)) == 6


def test_the_clock_of_the_machine_is_set_under_a_running_exporter(tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_text("0")
    with start_redis() as server, BullMQ(6, url=server.url) as bullmq:
        bullmq.start_worker("mail")
        bullmq.add("old")
        with running(server, tmp_path, "tests.support.clock_of", str(offset)) as (_, url):
            for number, ahead in enumerate([0, *STEPS], start=1):
                offset.write_text(str(ahead))
                bullmq.add_bulk("mail", JOBS)
                wait_for_completed(url, number * JOBS)
                values = scrape(url)
                age = get(values, "bullmq_queue_oldest_waiting_seconds", prefix="bull", queue="old")
                assert age is not None, ahead
                assert age < 300, ahead
                assert up(values) == 1
                assert answers(url)
            lost = {key: value for key, value in scrape(url).items() if "lost" in key[0] and value}
            assert lost == {}


def wait_for_completed(url: str, count: int) -> None:
    def completed() -> bool:
        return get(scrape(url), "bullmq_job_completed_total", prefix="bull", queue="mail") == count

    wait_until(completed, what=f"{count} jobs are counted", seconds=30, every=0.2)


@pytest.mark.long
@pytest.mark.timeout(1200)  # 3 to 8 minutes
def test_connections_that_are_lost_3600_times_leave_memory_as_it_was(tmp_path: Path) -> None:
    with start_redis() as server:
        for number in range(20):
            server.cli("hset", f"bull:q{number}:meta", "version", "bullmq:5")
        with running(server, tmp_path) as (program, url):
            wait_until(lambda: up(scrape(url)) == 1, what="it is read", seconds=20)
            with socket.create_connection((server.host, server.port)) as killer, httpx.Client() as client:
                resident = []
                for number in range(SCRAPES):
                    killer.sendall(b"CLIENT KILL TYPE normal SKIPME yes\r\n")
                    killer.recv(100)
                    assert client.get(f"{url}/metrics", timeout=10).status_code == 200
                    if number % 300 == 299:
                        resident.append(program.memory_info().rss >> 20)
            assert resident[-1] - resident[0] < MOST_GROWTH, resident
            assert program.num_fds() < 100
            wait_until(lambda: up(scrape(url)) == 1, what="it is read again", seconds=20)
