"""What is compared: the shipped policy with its guards, other autoscalers, and how each is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bench.autoscalers import (
    BacklogPerInstance,
    Bounds,
    Hpa,
    Knative,
    QueueLatency,
    RayServe,
    SquareRoot,
    WaitingRule,
)
from bench.scenarios import Scenario
from scaler.backtest.replay import PolicyController
from scaler.backtest.simulate import SimulatedController
from scaler.config.settings import PolicySettings
from scaler.model import Missing, Observation

MAX_WORKERS: Final = 200

Make = Callable[[Scenario, float], SimulatedController]


@dataclass(frozen=True)
class Contender:
    """A controller by name; `make` gets the scenario and the seconds between decisions. `phase`: when it
    decides, as a share of the time between two scrapes. `ours`: not an anchor."""

    name: str
    make: Make = field(repr=False)
    ours: bool = False
    phase: float = 0.5


@dataclass
class Shipped(PolicyController):
    """The shipped policy and guards; without `optional_inputs` as of a source that has only counts and
    totals."""

    optional_inputs: bool = True

    def decide(self, observation: Observation) -> int:
        return super().decide(observation if self.optional_inputs else without_optional(observation))


def without_optional(observation: Observation) -> Observation:
    """The observation as of a source that has only counts and totals."""
    if isinstance(observation.sample, Missing):
        return observation
    sample = observation.sample._replace(
        duration_sum=None,
        duration_count=None,
        oldest_waiting=None,
        busy_seconds=None,
        held=None,
        limit_seconds=None,
    )
    return observation._replace(sample=sample, start_seconds=None, idle=None)


def _shipped(name: str, *, optional_inputs: bool = True, phase: float = 0.5, **settings: Any) -> Contender:
    def make(scenario: Scenario, interval: float) -> SimulatedController:
        return Shipped(policy_settings(scenario, settings), interval, optional_inputs=optional_inputs)

    return Contender(name, make, ours=True, phase=phase)


def policy_settings(scenario: Scenario, changed: Mapping[str, Any]) -> PolicySettings:
    """The settings of a scenario, with some changed."""
    settings: dict[str, Any] = {
        "min_workers": scenario.min_workers,
        "max_workers": MAX_WORKERS,
        "worker_concurrency": scenario.concurrency,
        "wait_slo_seconds": scenario.slo,
    }
    return PolicySettings(**settings | dict(changed))


def _bounds(scenario: Scenario) -> Bounds:
    return Bounds(max(1, scenario.min_workers), MAX_WORKERS)


def _keda(share: float, window: float) -> Contender:
    def make(scenario: Scenario, _: float) -> SimulatedController:
        target = share * scenario.concurrency
        return Hpa(lambda sample: sample.waiting + sample.active, target, _bounds(scenario), window)

    window_text = "" if window == 300.0 else f", window of {window:g} s"
    return Contender(f"KEDA at {share:g} of capacity{window_text}", make)


def _knative(share: float) -> Contender:
    return Contender(
        f"Knative at {share:g}",
        lambda scenario, _: Knative(share * scenario.concurrency, _bounds(scenario)),
    )


def _mean_run(scenario: Scenario) -> float:
    return sum(scenario.load.runs) / max(1, len(scenario.load.runs))


DEFAULT: Final = "wait_target"
THRIFTY: Final = "wait_target, start_cost_seconds 0"
ANCHOR: Final = "Knative at 0.85"

CONTENDERS: Final = (
    _shipped(DEFAULT),
    _shipped(THRIFTY, start_cost_seconds=0),
    _shipped("wait_target, start_cost_seconds 180", start_cost_seconds=180),
    _shipped("wait_target, right after the scrape", phase=0.1),
    _shipped("wait_target, without the optional inputs", optional_inputs=False),
    _knative(0.7),
    _knative(0.85),
    _knative(1.0),
    _keda(1.0, 300.0),
    _keda(0.7, 300.0),
    _keda(1.0, 60.0),
    _keda(0.7, 60.0),
    Contender(
        "HPA at 0.7 of utilization",
        lambda scenario, _: Hpa(lambda sample: sample.active, 0.7 * scenario.concurrency, _bounds(scenario)),
    ),
    Contender(
        "Ray Serve at 0.8",
        lambda scenario, _: RayServe(0.8 * scenario.concurrency, _bounds(scenario)),
    ),
    Contender(
        "queue latency (Judoscale, HireFire)",
        lambda scenario, _: QueueLatency(scenario.slo, _bounds(scenario)),
    ),
    Contender(
        "AWS backlog per instance",
        lambda scenario, _: BacklogPerInstance(
            scenario.slo * scenario.concurrency / _mean_run(scenario), _bounds(scenario)
        ),
    ),
    Contender(
        "square-root staffing", lambda scenario, _: SquareRoot(scenario.concurrency, _bounds(scenario))
    ),
    Contender(
        "rule of waiting jobs, to waiting / 5",
        lambda scenario, _: WaitingRule(to_target=True, bounds=_bounds(scenario)),
    ),
)
