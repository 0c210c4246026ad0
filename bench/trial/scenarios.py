"""What happens in each trial: how jobs come and run, and what is done to their queue and workers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, Literal, TypeAlias

SEED: Final = 16

Kind: TypeAlias = Literal["rate", "run", "limit", "pause", "restart"]


@dataclass(frozen=True, slots=True)
class Disturbance:
    """From `begin` to `end` (s): `rate` and `run` multiply the rate and the run time by `value`; `limit` lets
    at most `value` jobs start in a second; a `restart` terminates each worker once, from `begin` on."""

    kind: Kind
    begin: float
    end: float
    value: float = 1.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """`rate` jobs/s come for `lead` seconds, which are not judged, and for `seconds` more; a job runs
    `run_seconds` on average, half to one and a half times that. Time 0 is the end of the lead."""

    name: str
    title: str
    rate: float
    run_seconds: float
    disturbances: tuple[Disturbance, ...]
    seconds: float = 240.0
    lead: float = 55.0

    def factor(self, kind: Kind, at: float) -> float:
        """By how much the rate or the run time is multiplied at this time."""
        product = 1.0
        for disturbance in self.disturbances:
            if disturbance.kind == kind and disturbance.begin <= at < disturbance.end:
                product *= disturbance.value
        return product


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job that comes `at` (s from the end of the lead), and its run time relative to the mean."""

    at: float
    factor: float


@dataclass(frozen=True, slots=True)
class Plant:
    """What is the same in each scenario. Seconds; `start`: least and most from a worker's start until it
    takes jobs; `start_cost`: start_cost_seconds."""

    interval: int = 5
    slo: float = 20.0
    concurrency: int = 2
    max_workers: int = 12
    start: tuple[float, float] = (8.0, 12.0)
    start_cost: float = 40.0


SCENARIOS: Final = (
    Scenario("burst", "Burst: five times as many jobs", 3.0, 0.8, (Disturbance("rate", 60, 120, 5.0),)),
    Scenario(
        "slowdown",
        "Slowdown: each job takes five times as long",
        3.0,
        0.8,
        (Disturbance("run", 60, 150, 5.0),),
    ),
    Scenario(
        "limiter",
        "Limiter: 2 jobs a second may start, 3 come",
        3.0,
        0.8,
        (Disturbance("limit", 40, 130, 2.0),),
    ),
    Scenario("pause", "Pause: no job may start for 90 s", 3.0, 0.8, (Disturbance("pause", 40, 130),)),
    Scenario(
        "restart",
        "Rolling restart: each worker is terminated once",
        6.0,
        1.0,
        (Disturbance("restart", 60, 130),),
    ),
)


def arrivals(scenario: Scenario, seed: int = SEED) -> list[Arrival]:
    """Poisson arrivals, whose rate changes with the scenario; the same for the same seed."""
    random = Random(f"{scenario.name} {seed}")
    changes = sorted(
        {scenario.seconds}
        | {
            time
            for disturbance in scenario.disturbances
            if disturbance.kind == "rate"
            for time in (disturbance.begin, disturbance.end)
        }
    )
    jobs, now = [], -scenario.lead
    while now < scenario.seconds:
        until = next(time for time in changes if time > now)
        now += random.expovariate(scenario.rate * scenario.factor("rate", now))
        if now >= until:  # the rate changes before: without memory, so it is drawn again from there
            now = until
        else:
            jobs.append(Arrival(now, random.uniform(0.5, 1.5)))
    return jobs


def takeable(added: list[float], disturbances: tuple[Disturbance, ...]) -> list[float]:
    """When each job could have started, had there been a free slot at any time: not in a pause, and not over
    a limit. `added` ascends."""
    times: list[float] = []
    for at in added:
        now = at
        for disturbance in disturbances:
            if disturbance.kind == "pause" and disturbance.begin <= now < disturbance.end:
                now = disturbance.end
            elif (
                disturbance.kind == "limit"
                and disturbance.begin <= now < disturbance.end
                and len(times) >= disturbance.value
            ):
                now = min(max(now, times[-int(disturbance.value)] + 1.0), disturbance.end)
        times.append(max(now, times[-1]) if times else now)
    return times
