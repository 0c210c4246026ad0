"""The exporter that one writes in an afternoon: redis-py and prometheus_client, ten counts of each queue."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import redis
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily

LISTS = ("wait", "paused", "active")
SETS = ("delayed", "prioritized", "waiting-children", "completed", "failed", "repeat")


class Queues:
    """Collects on each scrape."""

    def __init__(self, client: redis.Redis, names: list[str]) -> None:
        self._client = client
        self._names = names

    def collect(self) -> Iterator[GaugeMetricFamily]:
        pipeline = self._client.pipeline(transaction=False)
        for name in self._names:
            for key in LISTS:
                pipeline.llen(f"bull:{name}:{key}")
            for key in SETS:
                pipeline.zcard(f"bull:{name}:{key}")
            pipeline.hexists(f"bull:{name}:meta", "paused")
        counts = iter(pipeline.execute())
        states = {state: GaugeMetricFamily(f"queue_{state}", "jobs", labels=["queue"]) for state in STATES}
        for name in self._names:
            for family in states.values():
                family.add_metric([name], next(counts))
        yield from states.values()


STATES = [*(key.replace("-", "_") for key in (*LISTS, *SETS)), "is_paused"]

if __name__ == "__main__":
    registry = CollectorRegistry()
    registry.register(Queues(redis.Redis(port=int(sys.argv[1])), json.loads(sys.argv[3])))
    start_http_server(int(sys.argv[2]), "127.0.0.1", registry=registry)
    time.sleep(3600)
