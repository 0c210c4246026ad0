"""What the conditions of work cost at 1,000 queues, in multiples of the floor, and as a share of a scrape.

The collection of real queues in a real Redis, the memory of what stands still (exporter.bullmq.work), every
rule of health, and the text of /metrics, one after the other: CPU seconds of this process. The rules of work
are timed once more by themselves, where they run: after the fold. Once with queues whose workers do their
jobs, once with a job in each of them between two scrapes, and once with all of them standing still, which is
the worst case: each has an age of its own in each scrape, which is compared with those of all others. The
bounds are in multiples of the floor (`bench/floor.py`) of the same run: as shares they would grow with
everything else that a scrape does in less time.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from bench.cost import change
from bench.floor import Floor
from bench.queues import fill, names
from exporter.assessment import Assessment
from exporter.bullmq.collect import BullMQSource
from exporter.bullmq.discover import Discovery
from exporter.bullmq.streams.follow import Follower
from exporter.bullmq.work import WorkHistory
from exporter.conditions import jobs, work
from exporter.conditions.not_known_yet import not_known_yet
from exporter.config.bullmq import BullMQSettings
from exporter.config.health import HealthSettings
from exporter.config.redis import RedisSettings
from exporter.health import RULES, assess
from exporter.metrics.render import Renderer
from exporter.redis.deployment import Deployment
from exporter.snapshot.queues import BullMQState
from exporter.snapshot.whole import Snapshot
from lab.redis import start_redis
from service.clock import Deadline
from service.garbage import YOUNG_OF_A_QUEUE, GarbageCollection
from service.outcome import Ok

_Result = TypeVar("_Result")

QUEUES: Final = 1_000
ROUNDS, WARM = 31, 5
MAX_FLOORS: Final = {"workers do their jobs": 0.06, "all change": 0.25, "all stand still": 0.45}
_STEP_SECONDS: Final = 15.0  # between two collections, for the memory


def main() -> int:
    """Print the results; 1 if a bound is exceeded."""
    GarbageCollection(YOUNG_OF_A_QUEUE).begin()
    with start_redis() as server:
        fill(server.port, queues=QUEUES, jobs_per_queue=25)
        deployment = Deployment(RedisSettings.model_validate({"url": server.url}))
        floor = Floor(server.port, server.process.pid, names(QUEUES))
        floors = [floor.run().own for _ in range(WARM + ROUNDS)][WARM:]
        try:
            shares = {
                "workers do their jobs": _share(deployment, _worked_on),
                "all change": _share(
                    deployment, _worked_on, lambda number: change(server.port, names(QUEUES), number)
                ),
                "all stand still": _share(deployment, lambda state: state),
            }
        finally:
            floors += [floor.run().own for _ in range(ROUNDS)]
            floor.close()
            deployment.close()
    exceeded, least = False, statistics.median(floors)
    print(f"{QUEUES} queues, floor: {least:.1f} ms of CPU")
    for name, (scrape, conditions) in shares.items():
        limit, ratio = MAX_FLOORS[name], conditions * 1000 / least
        exceeded |= ratio > limit
        print(
            f"{QUEUES} queues, {name}: scrape {scrape * 1000:.1f} ms of CPU, conditions of work "
            f"{conditions * 1000:.2f} ms, {conditions / scrape:.1%}, {ratio:.2f} floors (at most {limit:g})"
        )
    return int(exceeded)


def _worked_on(state: BullMQState) -> BullMQState:
    """The same queues with workers, whose delayed jobs are not due."""
    queues = tuple(
        queue._replace(workers=2, delayed_overdue=0, longest_overdue=None, longest_active=3.0)
        for queue in state.queues
    )
    return replace(state, queues=queues)


def _share(
    deployment: Deployment,
    changed: Callable[[BullMQState], BullMQState],
    between: Callable[[int], None] = lambda _: None,
) -> tuple[float, float]:
    """Median CPU seconds of a scrape, and of the conditions of work in it. `between`: what happens before a
    scrape, with its number."""
    settings, health = BullMQSettings(), HealthSettings()
    discovery, follower = Discovery(deployment, settings), Follower(deployment, settings)
    discovery.discover_once(Deadline.after(60))
    source, history = BullMQSource(deployment, discovery, settings, follower), WorkHistory()
    follower.step(discovery.known().queues)
    renderer = Renderer()
    scrapes, parts = [], []
    for number in range(ROUNDS + WARM):
        between(number)
        while not follower.step(discovery.known().queues):
            pass
        gc.collect()
        collect, state = _timed(partial(source.collect, Deadline.after(10)))
        state = changed(state)
        at = number * _STEP_SECONDS
        fold, remembered = _timed(partial(history.extend, at, state))
        rules, _ = _timed(partial(_findings, Snapshot(time.time(), bullmq=Ok(_copy(remembered))), health))
        snapshot = Snapshot(time.time(), bullmq=Ok(remembered))
        judge, judged = _timed(partial(assess, snapshot, health))
        text, _ = _timed(partial(renderer.text, Assessment(snapshot, judged)))
        if number >= WARM:
            scrapes.append(collect + fold + judge + text)
            parts.append(fold + rules)
    return statistics.median(scrapes), statistics.median(parts)


_OF_WORK: Final = {
    name: rule for name, rule in RULES.items() if rule.__module__ in (work.__name__, jobs.__name__)
}


def _findings(snapshot: Snapshot, settings: HealthSettings) -> dict[str, float]:
    findings = {name: rule(snapshot, settings) for name, rule in _OF_WORK.items()}
    return not_known_yet(snapshot, settings, {name for name, finding in findings.items() if finding})


def _copy(state: BullMQState) -> BullMQState:
    """Without what an earlier rule has cached in it."""
    return BullMQState(
        state.queues,
        state.unread,
        events=state.events,
        rates=state.rates,
        work=state.work,
        watched_seconds=state.watched_seconds,
        changes=state.changes,
    )


def _timed(function: Callable[[], _Result]) -> tuple[float, _Result]:
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


if __name__ == "__main__":
    raise SystemExit(main())
