"""The comparison of sampled memory with a walk over all keys, on fewer jobs than `python -m bench.memory`."""

from __future__ import annotations

import pytest

from bench.memory import WITHIN, fill_world, off, survey, walk
from exporter.config.memory import MemorySettings
from lab.redis import start_redis


@pytest.mark.timeout(180)
def test_a_survey_is_near_the_walk_within_its_share_of_redis_time() -> None:
    settings = MemorySettings(samples=3000, redis_ratio=0.01)
    with start_redis() as server:
        fill_world(server, 20_000)
        truth = walk(server)
        surveyed = survey(server, settings, rest=0.0)
    rows = off(truth, surveyed)
    assert {queue for queue, *_ in rows} == {"", "mail", "video", "orders", "reports", "flows"}
    assert rows[0][-1] == pytest.approx(0, abs=WITHIN)
    assert all(abs(difference) < 0.35 for *_, difference in rows), rows  # of a state: few samples here
    measured = [state for queue in surveyed.memory.queues.values() for state in queue.states.values()]
    assert sum(state.samples for state in measured) <= 3000
    assert surveyed.by_clock / surveyed.seconds <= settings.redis_ratio
    assert surveyed.by_commands / surveyed.seconds <= 1.2 * settings.redis_ratio
