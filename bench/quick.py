"""`python -m bench --quick`: a scrape of 1,000 queues beside the floor, in less than a minute.

The parts of a scrape in this process, one after the other, on a real Redis: counting, judging, drawing and
compressing; and reading the events. Nothing runs beside them, and what counts is CPU time, the least of some
runs, in turn with the floor: what else the machine does only ever adds to it. `bench.cost` measures the whole
process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from bench.cost import change
from bench.floor import Floor, FloorCost
from bench.queues import fill, names
from bench.ratios import Ratios
from bench.streams import EVENTS_A_JOB
from bench.watched import cpu_seconds
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
from lab.redis import RedisServer, start_redis
from service.clock import Deadline, monotonic
from service.garbage import YOUNG_OF_A_QUEUE, GarbageCollection
from service.outcome import Ok

QUEUES: Final = 1_000
_JOBS: Final = 20
_PHASES: Final = {"idle": (14, 0), "5 % changing": (14, 20), "all changing": (14, 1)}
"""Rounds, and each of how many queues changes before one; rows that change often get blocks of their own."""
_LEAST: Final = 0.4
"""Of the floor: what is less varies by more than a change would make."""


class Cost(NamedTuple):
    """CPU in ms of this process and of Redis."""

    own: float
    redis: float


def main(ratios: Ratios | None = None) -> int:
    """Print the ratios, and add them; nothing is judged here."""
    began = time.monotonic()
    queues = names(QUEUES)
    floors: list[FloorCost] = []
    costs: dict[str, list[Cost]] = {}
    GarbageCollection(YOUNG_OF_A_QUEUE).begin()
    with start_redis() as redis:
        fill(redis.port, queues=QUEUES, jobs_per_queue=_JOBS)
        floor = Floor(redis.port, redis.process.pid, queues)
        deployment = Deployment(RedisSettings.model_validate({"url": redis.url, "timeout_seconds": 30}))
        try:
            read, scrape = _parts(deployment)
            written = 0
            for phase, (rounds, each) in _PHASES.items():
                for number in range(rounds):
                    some = queues[::each] if each else queues if not written else []
                    if some:
                        change(redis.port, some, number + 1)
                        written += len(some) * EVENTS_A_JOB
                    floors.append(floor.run())
                    events = _measured(redis, partial(read, written))
                    if each == 1:
                        costs.setdefault("events of all", []).append(events)
                    costs.setdefault(phase, []).append(_measured(redis, scrape))
        finally:
            deployment.close()
            floor.close()
    own, of_redis = (min(column) for column in zip(*floors, strict=True))
    print(f"{QUEUES:,} queues, floor {own:.1f} ms of CPU and {of_redis:.1f} of Redis; least of each:")
    for phase, phase_costs in costs.items():
        used, redis_ms = (min(column) for column in zip(*phase_costs, strict=True))
        print(f"  {phase:<14} {used:6.1f} ms, Redis {redis_ms:5.1f} ms")
        if ratios is not None:
            ratios[f"quick, {phase}"] = used / own
            ratios[f"quick, {phase}, Redis"] = max(_LEAST, redis_ms / of_redis)
    print(f"{time.monotonic() - began:.0f} s")
    return 0


def _parts(deployment: Deployment) -> tuple[Callable[[int], object], Callable[[], object]]:
    """Reading until so many events were read, and a scrape."""
    settings, health = BullMQSettings(), HealthSettings()
    discovery, follower = Discovery(deployment, settings), Follower(deployment, settings)
    discovery.discover_once(Deadline.after(60))
    source, history, renderer = (
        BullMQSource(deployment, discovery, settings, follower),
        WorkHistory(),
        Renderer(),
    )
    known = discovery.known()
    if len(known.queues) != QUEUES:
        raise RuntimeError(f"{len(known.queues)} queues were found, not {QUEUES}")

    def read(events: int) -> None:
        """Streams that rest are looked at from time to time only."""
        while (pause := follower.step(known.queues)) == 0.0 or follower.totals().read < events:
            time.sleep(pause)

    def scrape() -> bytes:
        state = history.extend(monotonic(), source.collect(Deadline.after(60)))
        snapshot = Snapshot(time.time(), bullmq=Ok(state))
        body = renderer.body(Assessment(snapshot, assess(snapshot, health)), "text").gzip()
        if state.unread:
            raise RuntimeError(f"{len(state.unread)} queues could not be read")
        return body

    read(0)
    scrape()
    return read, scrape


def _measured(redis: RedisServer, run: Callable[[], object]) -> Cost:
    before, own = cpu_seconds(redis.process.pid), time.process_time()
    run()
    return Cost((time.process_time() - own) * 1000, (cpu_seconds(redis.process.pid) - before) * 1000)
