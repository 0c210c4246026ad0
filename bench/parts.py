"""`python -m bench.parts --queues 10000`: CPU of the parts of a scrape, one after the other in this process.

On a real Redis, as in `bench --quick`; nothing runs beside it: a running exporter has HTTP, threads, the host
and the follower in addition. The least and the median of some rounds: what else the machine does only adds.
To compare with another working copy run it there too, in turn.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from bench.cost import JOBS, change
from bench.floor import Floor
from bench.queues import fill, names
from exporter.assessment import Assessment
from exporter.bullmq.collect import BullMQSource
from exporter.bullmq.discover import Discovery
from exporter.bullmq.streams.follow import Follower
from exporter.bullmq.work import WorkHistory
from exporter.config.bullmq import BullMQSettings
from exporter.config.health import HealthSettings
from exporter.config.redis import RedisSettings
from exporter.health import assess
from exporter.metrics.render import Renderer
from exporter.redis.deployment import Deployment
from exporter.snapshot.whole import Snapshot
from lab.redis import start_redis
from service.clock import Deadline, monotonic
from service.garbage import YOUNG_OF_A_QUEUE, GarbageCollection
from service.outcome import Ok

_PHASES: Final = {"idle": 0, "5 % changing": 20, "all changing": 1}
"""Each of how many queues has a job before a round."""
_WARM: Final = 7  # after six scrapes rows that change often get blocks of their own
_DISCOVERY_SECONDS: Final = 15.0
PARTS: Final = ("collection", "memory of work", "conditions", "drawing", "compressing", "all of it")


class Scrapes:
    """Scrapes of all queues of a Redis, each part timed."""

    def __init__(self, deployment: Deployment) -> None:
        settings = BullMQSettings()
        self._discovery, self._follower = Discovery(deployment, settings), Follower(deployment, settings)
        self._discovered_at = -_DISCOVERY_SECONDS
        self.discover()
        self._queues = self._discovery.known().queues
        self._source = BullMQSource(deployment, self._discovery, settings, self._follower)
        self._work, self._renderer, self._health = WorkHistory(), Renderer(), HealthSettings()

    def discover(self) -> None:
        """Where that is due: workers that were counted long ago are not known any more."""
        if monotonic() - self._discovered_at >= _DISCOVERY_SECONDS:
            self._discovery.discover_once(Deadline.after(60))
            self._discovered_at = monotonic()

    def read_events(self) -> None:
        self.discover()
        while not self._follower.step(self._queues):
            pass

    def scrape(self) -> list[float]:
        """The ms of each of `PARTS`."""
        marks = [time.process_time()]

        def done() -> None:
            marks.append(time.process_time())

        state = self._source.collect(Deadline.after(60))
        done()
        snapshot = Snapshot(time.time(), bullmq=Ok(self._work.extend(monotonic(), state)))
        done()
        assessment = Assessment(snapshot, assess(snapshot, self._health))
        done()
        body = self._renderer.body(assessment, "text")
        done()
        body.gzip()
        done()
        if state.unread:
            raise RuntimeError(f"{len(state.unread)} queues could not be read")
        each = [(after - before) * 1000 for before, after in pairwise(marks)]
        return [*each, sum(each)]


def measure(queues: int, rounds: int, report: Callable[[str], None]) -> None:
    """Report the parts of each phase."""
    GarbageCollection(YOUNG_OF_A_QUEUE).begin()
    with start_redis() as redis:
        fill(redis.port, queues=queues, jobs_per_queue=JOBS)
        listed, number = names(queues), 0
        floor = Floor(redis.port, redis.process.pid, listed)
        deployment = Deployment(RedisSettings.model_validate({"url": redis.url, "timeout_seconds": 30}))
        try:
            scrapes = Scrapes(deployment)
            scrapes.read_events()
            change(redis.port, listed, number)
            for phase, each in _PHASES.items():
                rows, floors = [], []
                for _ in range(rounds + _WARM):
                    number += 1
                    if each:
                        change(redis.port, listed[::each], number)
                    scrapes.read_events()
                    floors.append(floor.run().own)
                    rows.append(scrapes.scrape())
                report(f"{queues:,} queues, {phase}: floor {min(floors):.1f} ms")
                for part, column in zip(PARTS, zip(*rows[_WARM:], strict=True), strict=True):
                    report(f"  {part:<16}{min(column):8.1f}{statistics.median(column):8.1f}")
        finally:
            deployment.close()
            floor.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.parts")
    parser.add_argument("--queues", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args(arguments)
    measure(options.queues, options.rounds, print)
    return 0


if __name__ == "__main__":
    sys.exit(main())
