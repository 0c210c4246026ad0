"""One worker process for several queues: what it runs at once depends on which of them have jobs."""

from __future__ import annotations

from random import Random

import pytest

from scaler.backtest.plant import Load, Plant
from scaler.backtest.replay import PolicyController
from scaler.backtest.simulate import simulate
from scaler.config.settings import PolicySettings
from scaler.decision.policies.concurrency import Concurrency, worker_slots
from scaler.model import Missing, Observation, QueueSample
from scaler.prometheus.promql import QueueKey, combine


@pytest.mark.parametrize(
    ("inside", "slots"), [([0, 0, 0, 0, 80], 5), ([16] * 5, 25), ([40, 40, 0, 0, 0], 10), ([0] * 5, 5)]
)
def test_slots_of_single_queues_count_as_far_as_the_jobs_are_spread(inside: list[int], slots: float) -> None:
    samples = {QueueKey("bull", str(n)): QueueSample(0.0, jobs, 0.0) for n, jobs in enumerate(inside)}
    combined = combine(dict(samples))
    assert isinstance(combined, QueueSample)
    given = PolicySettings(worker_concurrency=25, worker_concurrency_per_queue=5)
    assert worker_slots(given, Concurrency(), combined) == pytest.approx(slots)
    assert worker_slots(PolicySettings(), Concurrency(7.0), combined) == 7


def late(seconds: float, **settings: int) -> tuple[float, str]:
    """The share of late jobs of one queue of five, 20 jobs/s of a second, and the last sentence."""
    random = Random(1)
    at: list[float] = []
    while not at or at[-1] < seconds:
        at.append((at[-1] if at else 0.0) + random.expovariate(20))

    class OneOfFive(PolicyController):
        def decide(self, observation: Observation) -> int:
            if not isinstance(observation.sample, Missing):
                observation = observation._replace(sample=observation.sample._replace(largest_share=1.0))
            return super().decide(observation)

    controller = OneOfFive(PolicySettings.model_validate({"max_workers": 20} | settings), 5.0)
    plant = Plant(5, lambda: random.uniform(5, 15), workers=2)
    load = Load(at, [random.expovariate(1) for _ in at])
    report = simulate(load, plant, controller, slo=30.0, until=seconds)
    assert controller.decision is not None
    return report.over, controller.decision.sentence


def test_a_load_in_one_queue_of_five_is_not_late() -> None:
    assert late(1200.0, worker_concurrency=25, worker_concurrency_per_queue=5)[0] == 0
    assert late(1200.0, worker_concurrency_per_queue=5)[0] == 0
    assert late(1200.0)[0] == 0


@pytest.mark.parametrize("least", [1, 2])
def test_a_concurrency_that_is_set_too_high_is_noticed_and_named(least: int) -> None:
    over, sentence = late(3600.0, worker_concurrency=25, min_workers=least)
    assert over < 0.3
    assert "jobs at once at most while jobs waited: is its concurrency right?" in sentence
