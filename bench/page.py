"""`python -m bench.page`: the status page beside /metrics at 10,000 queues: bytes, and seconds as a ratio.

Both collect the same; the page then shows fifty queues, a search among all of them, or the last page.
"""

from __future__ import annotations

import gzip
import http.client
import statistics
import time
from typing import Final

from bench.queues import fill
from exporter.config.bullmq import BullMQSettings
from exporter.config.redis import RedisSettings
from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.deadline import wait_until
from lab.redis import start_redis
from service.clock import monotonic

_QUEUES: Final = 10_000
_ROUNDS: Final = 7
MAX_PAGE_BYTES: Final = 1 << 20
MAX_PAGE_RATIO: Final = 2.0
PATHS: Final = ("/", "/?q=queue-09", "/?sort=name&page=200")


def main() -> int:
    """Print a table; 1 if a bound is exceeded."""
    with start_redis() as redis:
        fill(redis.port, queues=_QUEUES, jobs_per_queue=20)
        settings = ExporterSettings(
            listen="127.0.0.1:0",
            redis=RedisSettings.model_validate({"url": redis.url}),
            bullmq=BullMQSettings(events=False, scan_calls_per_second=1000),
        )
        exporter = Exporter(settings)
        exporter.start()
        try:
            host, _, port = exporter.address.rpartition(":")
            connection = http.client.HTTPConnection(host, int(port), timeout=60)
            wait_until(
                lambda: f"of {_QUEUES:,} queues".encode() in _get(connection, "/")[0],
                what="all queues",
                seconds=120,
            )
            durations: dict[str, list[float]] = {path: [] for path in ("/metrics", *PATHS)}
            sizes: dict[str, bytes] = {}
            for _ in range(_ROUNDS):
                for path, times in durations.items():
                    sizes[path], seconds = _get(connection, path)
                    times.append(seconds)
                    time.sleep(0.2)
        finally:
            exporter.stop()
    floor = statistics.median(durations["/metrics"])
    failed = False
    print(f"{_QUEUES:,} queues, medians of {_ROUNDS}; /metrics takes {floor * 1000:.0f} ms")
    for path in PATHS:
        body, ratio = sizes[path], statistics.median(durations[path]) / floor
        failed |= len(body) > MAX_PAGE_BYTES or ratio > MAX_PAGE_RATIO
        packed = len(gzip.compress(body))
        print(
            f"{path:24} {len(body):8,} bytes ({packed:,} gzipped)  {ratio:.2f} of /metrics"
            f" (at most {MAX_PAGE_RATIO:g})"
        )
    return int(failed)


def _get(connection: http.client.HTTPConnection, path: str) -> tuple[bytes, float]:
    """The body, and the seconds to its last byte."""
    started = monotonic()
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status}")
    return body, monotonic() - started


if __name__ == "__main__":
    raise SystemExit(main())
