"""What a whole exporter publishes of a queue that stood still before it started."""

from __future__ import annotations

import time

import httpx
import pytest

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.bullmq import BullMQ
from lab.redis import RedisServer
from tests.support.scrapes import scrape
from tests.support.work import SHORT_LOCK

AGO_MS = 700_000


def standing_series(url: str) -> float | None:
    """oxherd_issue of queue_standing_still; None while it is absent."""
    for (name, labels), value in scrape(url).items():
        if name == "oxherd_issue" and dict(labels)["issue"] == "queue_standing_still":
            return value
    return None


def published(server: RedisServer, no_worker_seconds: float) -> list[float | None]:
    """What a new exporter publishes from its first scrape on, until it says that a queue stands still."""
    settings = ExporterSettings.model_validate(
        {
            "listen": "127.0.0.1:0",
            "redis": {"url": server.url},
            "health": {"thresholds": {"no_worker_seconds": no_worker_seconds}},
        }
    )
    exporter = Exporter(settings)
    exporter.start()
    try:
        values: list[float | None] = []
        until = time.monotonic() + 40
        while not values or (values[-1] != 1 and time.monotonic() < until):
            values.append(standing_series(f"http://{exporter.address}"))
            time.sleep(0.1)
        score = httpx.get(f"http://{exporter.address}/status.json").json()["health"]["score"]
        assert (score < 70) == (values[-1] == 1)
        return values
    finally:
        assert exporter.stop()


def make_older(server: RedisServer, queue: str, job_list: str, field: str) -> None:
    for job in server.cli("lrange", f"bull:{queue}:{job_list}", 0, -1).split():
        key = f"bull:{queue}:{job}"
        server.cli("hset", key, field, int(server.cli("hget", key, field)) - AGO_MS)


@pytest.mark.timeout(120)
def test_a_restart_is_no_end_of_workers_that_hang(server: RedisServer) -> None:
    server.cli("flushall")
    with BullMQ(6, url=server.url) as producer, BullMQ(6, url=server.url) as workers:
        workers.start_worker("mail", concurrency=12, behaviour={"hold": True}, **SHORT_LOCK)
        producer.add_bulk("mail", 15)
        producer.wait_for_counts("mail", {"active": 12})
        workers.process.suspend()
        make_older(server, "mail", "active", "processedOn")
        make_older(server, "mail", "wait", "timestamp")
        time.sleep(2 * SHORT_LOCK["lockDuration"] / 1000)  # of the locks
        values = published(server, no_worker_seconds=3)
        assert values[-1] == 1
        assert set(values[:-1]) == {None}


@pytest.mark.timeout(120)
def test_a_restart_is_no_end_of_a_queue_without_a_worker(server: RedisServer) -> None:
    server.cli("flushall")
    with BullMQ(6, url=server.url) as producer:
        producer.add_bulk("mail", 3)
        make_older(server, "mail", "wait", "timestamp")
        values = published(server, no_worker_seconds=60)
        assert values[-1] == 1
        assert set(values[:-1]) <= {None}
