"""What the exporter uses of a real Redis between scrapes: measured, published, and kept within its budget."""

from __future__ import annotations

import logging
import time
from functools import partial

import httpx
import pytest

from exporter.background import meter
from exporter.background.meter import BackgroundMeter
from exporter.config.bullmq import BullMQSettings
from exporter.config.redis import RedisSettings
from exporter.config.settings import ExporterSettings
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import pack_request
from exporter.run import Exporter
from lab.redis import RedisServer
from service.clock import Deadline
from tests.support.bullmq import Watch

SLOW = pack_request([("KEYS", "nothing*")] * 50)


@pytest.fixture
def full(redis_server: RedisServer) -> RedisServer:
    redis_server.cli("flushall")
    redis_server.cli("eval", "for i = 1, 50000 do redis.call('set', 'other:' .. i, i) end", "0")
    return redis_server


def test_what_is_used_is_measured_and_slows_the_rest_down(
    full: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    deployment = Deployment(RedisSettings.model_validate({"url": full.url}))
    background = BackgroundMeter(deployment, 0.02, lambda: False)
    with caplog.at_level(logging.INFO):
        background.step()
        deployment.execute({full.address: SLOW}, Deadline.after(20), pool="discover")
        deployment.execute({full.address: SLOW}, Deadline.after(20), pool="bullmq")  # a scrape's, not counted
        background.step()
        used = background.seconds()
        assert used["discovery"] > 0.01
        assert used["discovery"] > used["failovers"]
        assert set(used) == set(meter.PARTS.values())
        assert background.slowdown == 4.0
        time.sleep(0.5)
        for _ in range(8):
            time.sleep(0.1)
            background.step()
        assert background.slowdown < 4.0
    assert next(record.message for record in caplog.records) == "background slowed down"
    assert background.seconds()["discovery"] == pytest.approx(used["discovery"])
    deployment.close()


def test_a_first_search_may_use_ten_times_as_much(full: RedisServer) -> None:
    deployment = Deployment(RedisSettings.model_validate({"url": full.url}))
    for searching, slowed in ((True, False), (False, True)):
        background = BackgroundMeter(deployment, 0.1, partial(bool, searching))
        background.step()
        deployment.execute({full.address: SLOW}, Deadline.after(20), pool="discover")
        background.step()
        assert (background.slowdown > 1) is slowed
    deployment.close()


def test_the_pauses_of_the_background_are_longer(full: RedisServer) -> None:
    slow = Watch(RedisSettings.model_validate({"url": full.url}), BullMQSettings())
    slow.discovery._slowdown = lambda: 5.0
    slow.discovery._search_completed = True
    assert slow.discovery.step() == pytest.approx(5 / 20)
    slow.schedulers._slowdown = lambda: 5.0
    assert slow.schedulers.step() == pytest.approx(50)
    slow.close()


def test_it_is_published(redis_server: RedisServer) -> None:
    exporter = Exporter(
        ExporterSettings(listen="127.0.0.1:0", redis=RedisSettings.model_validate({"url": redis_server.url}))
    )
    exporter.start()
    try:
        lines = httpx.get(f"http://{exporter.address}/metrics").text.splitlines()
    finally:
        exporter.stop()
    parts = [line for line in lines if line.startswith("oxherd_background_redis_seconds_total{")]
    assert len(parts) == len(meter.PARTS)
    assert "oxherd_background_slowdown_ratio 1.0" in lines
