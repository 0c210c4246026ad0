"""Queues of which only what moved is counted, under random calls, beside counting all of them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from exporter.bullmq.collect import BullMQSource
from exporter.bullmq.still import unmoved
from exporter.config.bullmq import BullMQSettings
from exporter.snapshot.queues import BullMQState
from lab.driver import Driver
from lab.redis import RedisServer, start_redis
from service.clock import Deadline, monotonic
from tests.support.bullmq import Watch, WatchOf
from tests.support.random_calls import CountingAll, RandomCalls, differences

QUEUES: Final = int(os.environ.get("OXHERD_TEST_MOVED_QUEUES", "8"))
STEPS: Final = int(os.environ.get("OXHERD_TEST_MOVED_STEPS", "120"))
SECONDS: Final = float(os.environ.get("OXHERD_TEST_MOVED_SECONDS", "0"))  # at least
SEED: Final = int(os.environ.get("OXHERD_TEST_MOVED_SEED", "18"))
CALLS: Final = max(1, QUEUES // 100)  # between two comparisons
TRIES: Final = 200  # collections until nothing changes between two that count all

pytestmark = pytest.mark.timeout(120 + QUEUES + STEPS * 2 + SECONDS * 1.5)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with start_redis() as started:
        started.wait()
        yield started


def test_every_sample_is_that_of_counting_everything(
    library: Driver,
    server: RedisServer,
    watch: WatchOf,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """What emits no event is looked at each time, by discovery and in the lists; its bounds: test_moved."""
    monkeypatch.setattr(unmoved, "CHECK_SECONDS", 0.0)
    names = [f"{library.process.name.replace(' ', '-')}-{number}" for number in range(QUEUES)]
    settings = BullMQSettings.model_validate({"queues": names, "prefixes": ["bull"]})
    ours, everything = (watch(server, queues=names, prefixes=["bull"]) for _ in range(2))
    everything.follower = CountingAll(everything.deployment, settings)
    everything.source = BullMQSource(
        everything.deployment, ours.discovery, settings, everything.follower, everything.schedulers
    )
    calls = RandomCalls(library, names, random.Random(SEED))
    for name in names:
        library.add(name)
    stood = steps = 0
    end = monotonic() + SECONDS
    while steps < STEPS or monotonic() < end:
        made = [calls.step() for _ in range(CALLS)]
        mine = compared(ours, everything, f"seed {SEED}, step {steps}: {', '.join(made)}")
        stood += len(mine.queues) - ours.source.counted
        steps += 1
    record_property("seen", f"{steps} comparisons after {calls.made} calls; {stood} queues stood still")
    assert stood > steps  # most queues stood still, most of the time
    for name in names:
        calls.stop(name, force=True)


def compared(ours: Watch, everything: Watch, what: str) -> BullMQState:
    """Our state, between two that count all and are the same; their samples must be ours."""
    for _ in range(TRIES):
        ours.discovery.discover_once(Deadline.after(20))
        everything.follower.step(ours.discovery.known().made_by("bullmq"))
        ours.follow()
        before, mine, after = everything.collect(), ours.collect(), everything.collect()
        if not differences(before, after):
            different = differences(mine, after)
            assert not different, f"{what}: {different}"
            return mine
    raise AssertionError(f"{what}: the queues change all the time")
