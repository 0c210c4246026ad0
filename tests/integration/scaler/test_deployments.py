"""Several real exporters in one scrape job: of one Redis, and of two with a queue of the same name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.prometheus import start_prometheus
from lab.redis import RedisServer, start_redis
from scaler.model import QueueSample
from tests.support.observers import ObserverOf, mail, missing

pytestmark = pytest.mark.timeout(120)


@contextmanager
def exporting(server: RedisServer, **redis: object) -> Iterator[str]:
    """The address of an exporter that knows the queue `mail`."""
    program = Exporter(
        ExporterSettings.model_validate(
            {
                "listen": "127.0.0.1:0",
                "redis": {"url": server.url, **redis},
                "bullmq": {"queues": ["mail"], "scan": False},
            }
        )
    )
    program.start()
    try:
        yield program.address
    finally:
        assert program.stop()


def scraping(*addresses: str) -> str:
    targets = ", ".join(repr(address) for address in addresses)
    return (
        "scrape_configs:\n  - job_name: oxherd\n    scrape_interval: 1s\n    scrape_timeout: 1s\n"
        f"    static_configs: [{{targets: [{targets}]}}]\n"
    )


def test_two_redis_with_a_queue_of_one_name_are_a_duplicate_that_names_both(
    fresh_redis: RedisServer, observer: ObserverOf
) -> None:
    with (
        start_redis() as other,
        exporting(fresh_redis) as first,
        exporting(other, name="orders") as second,
        start_prometheus(scraping(first, second)) as prometheus,
    ):
        other.wait()
        prometheus.wait_for("count(oxherd_redis_deployment_info) == 2")
        prometheus.wait_for('count(bullmq_job_count{queue="mail",state="active"}) == 2')
        sample = missing(observer(prometheus.url))
        assert sample.kind == "duplicate"
        assert f'deployment "orders" (instance="{second}")' in sample.message
        assert fresh_redis.facts("info", "replication")["master_replid"] in sample.message
        chosen = observer(prometheus.url, matchers={"instance": first})
        assert isinstance(mail(chosen), QueueSample)


def test_two_exporters_of_one_redis_are_one_also_after_it_restarts(
    fresh_redis: RedisServer, observer: ObserverOf
) -> None:
    with (
        exporting(fresh_redis) as first,
        exporting(fresh_redis) as second,
        start_prometheus(scraping(first, second)) as prometheus,
    ):
        with BullMQ(6, url=fresh_redis.url) as bullmq:
            bullmq.add_bulk("mail", 5)
        prometheus.wait_for("count(oxherd_redis_deployment_info) == 2")
        prometheus.wait_for('count(bullmq_job_count{queue="mail",state="waiting"} == 5) == 2')
        under_test = observer(prometheus.url)
        assert waiting(mail(under_test)) == 5
        before = prometheus.query("oxherd_redis_deployment_info")[0][0]["redis_deployment"]
        fresh_redis.stop()
        fresh_redis.restart()

        def identified_again() -> bool:
            series = prometheus.query("oxherd_redis_deployment_info")
            now = {labels["redis_deployment"] for labels, _ in series}
            return len(series) == 2 and len(now) == 1 and now != {before}

        wait_until(identified_again, what="both have its new identity", seconds=60, every=0.2)
        wait_until(lambda: isinstance(mail(under_test), QueueSample), what="a sample", seconds=60, every=0.2)


def waiting(sample: object) -> float | None:
    return sample.waiting if isinstance(sample, QueueSample) else None
