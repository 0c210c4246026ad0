"""What is asked for leaves nothing to the search for cycles of garbage, which comes seldom and stops all
threads: neither while all is well, nor while Redis hangs or is gone."""

from __future__ import annotations

import gc
import http.client
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.queues import fill
from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.deadline import wait_until
from lab.ports import free_port
from lab.redis import RedisServer, start_redis
from tests.support.scrapes import get, scrape

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]  # 25 s alone

TIMES = 4
PATHS = ("/metrics", "/", "/status.json", "/healthz", "/readyz", "/nothing")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with start_redis() as server:
        fill(server.port, queues=50, jobs_per_queue=3)
        yield server


@pytest.fixture(scope="module")
def url(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    listen = f"127.0.0.1:{free_port()}"
    bullmq = {"state_file": str(tmp_path_factory.mktemp("state") / "state")}
    exporter = Exporter(
        ExporterSettings.model_validate({"redis": {"url": redis.url}, "listen": listen, "bullmq": bullmq})
    )
    exporter.start()
    url = f"http://{listen}"
    wait_until(lambda: get(scrape(url), "bullmq_queues") == 50, what="all queues are known")
    yield url
    exporter.stop()


def left_by(url: str, path: str) -> int:
    """The number of objects that only a search for cycles finds, after so many requests."""
    ask(url, path)
    gc.collect()
    gc.disable()
    try:
        for _ in range(TIMES):
            ask(url, path)
        return gc.collect()
    finally:
        gc.enable()


def ask(url: str, path: str) -> None:
    """By http.client, as httpx leaves cycles of its own."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request("GET", path)
    connection.getresponse().read()
    connection.close()


@contextmanager
def suspended(redis: RedisServer) -> Iterator[None]:
    redis.suspend()
    try:
        yield
    finally:
        redis.resume()


@pytest.mark.parametrize("path", PATHS)
def test_while_all_is_well(url: str, path: str) -> None:
    assert left_by(url, path) < TIMES


def test_while_redis_hangs(url: str, redis: RedisServer) -> None:
    with suspended(redis):
        assert left_by(url, "/metrics") < TIMES


def test_while_redis_is_gone(url: str, redis: RedisServer) -> None:
    redis.kill()
    assert left_by(url, "/metrics") < TIMES
