"""Compares policies in simulated time: `python -m bench.policies --traces DIR --write FILE`.

Every contender gets the same arrivals and the same start-up times of workers. The recorded traces are not
part of the project: DIR has files of NASA-HTTP, AzureLLMInference 2023 and the Numenta Anomaly Benchmark,
with the names in bench/loads.py; without it only generated loads are run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from math import exp, log
from pathlib import Path
from random import Random
from typing import Final

from bench.autoscalers import Keda, WaitingRule
from bench.loads import Case, generated, recorded
from scaler.backtest.simulate import Plant, Report, SimulatedController, simulate
from scaler.config.settings import PolicySettings
from scaler.decision.step import TargetMemory, step
from scaler.model import Control, Observation

_MAX_WORKERS: Final = 200
_SEEDS: Final = (1, 2, 3)


@dataclass(frozen=True)
class Scenario:
    """The conditions: the SLO (s), and the time until a new worker can take jobs (s, uniform)."""

    slo: float
    start: tuple[float, float]

    def __str__(self) -> str:
        return f"SLO {self.slo:g} s, workers start in {self.start[0]:g} to {self.start[1]:g} s"


@dataclass(frozen=True)
class Contender:
    """A controller by name, with the seconds between its decisions and between scrapes."""

    name: str
    interval: float
    scrape: float
    make: Callable[[Case, Scenario], SimulatedController] = field(repr=False)


@dataclass
class ShippedController:
    """The shipped policy and guards."""

    settings: PolicySettings
    interval: float
    memory: TargetMemory | None = None

    def decide(self, observation: Observation) -> int:
        decision, self.memory = step(self.settings, self.interval, observation, Control(), self.memory)
        return decision.workers


def _wait_target(interval: float, *, aim: float = 0.35) -> Contender:
    def make(case: Case, scenario: Scenario) -> SimulatedController:
        settings = PolicySettings(
            min_workers=1,
            max_workers=_MAX_WORKERS,
            worker_concurrency=case.concurrency,
            wait_slo_seconds=scenario.slo,
            aim=aim,
        )
        return ShippedController(settings, interval)

    return Contender(f"wait_target, aim {aim:g}, every {interval:g} s", interval, interval, make)


def _keda(share: float, window: float) -> Contender:
    name = f"KEDA, waiting + active at {share:g} x concurrency, down after {window:g} s"
    return Contender(name, 15, 15, lambda case, _: Keda(share * case.concurrency, active=True, window=window))


CONTENDERS: Final = (
    _wait_target(5, aim=0.35),
    _wait_target(15, aim=0.35),
    _wait_target(5, aim=0.2),
    _wait_target(5, aim=0.7),
    *(_keda(share, window) for share in (0.3, 0.5, 0.7, 1.0) for window in (300.0, 60.0)),
    Contender("KEDA, waiting at 5", 15, 15, lambda *_: Keda(5, active=False)),
    Contender("waiting rule, 2 min, by one", 120, 15, lambda *_: WaitingRule(to_target=False)),
    Contender("waiting rule, 2 min, to waiting / 5", 120, 15, lambda *_: WaitingRule(to_target=True)),
)
SHIPPED: Final = CONTENDERS[0].name
SCENARIOS: Final = (Scenario(30, (10, 40)), Scenario(10, (20, 60)))


def run_case(case: Case, contender: Contender, scenario: Scenario, seed: int) -> Report:
    """One contender on one load; `seed` is for the start-up times of workers."""
    random = Random(seed)
    plant = Plant(
        case.concurrency,
        lambda: random.uniform(*scenario.start),
        workers=2,
        interval=contender.interval,
        scrape=contender.scrape,
    )
    return simulate(case.load, plant, contender.make(case, scenario), slo=scenario.slo, until=case.seconds)


@dataclass(frozen=True)
class Score:
    """Means over seeds: ratio of jobs over the SLO, worker time / least possible, changes/h, reversals/h."""

    over: float
    cost: float
    changes: float
    reversals: float


def _score(case: Case, contender: Contender, scenario: Scenario) -> Score:
    reports = [run_case(case, contender, scenario, seed) for seed in _SEEDS]
    hours = case.seconds / 3600 * len(reports)
    return Score(
        over=sum(report.over for report in reports) / len(reports),
        cost=sum(report.cost for report in reports) / len(reports),
        changes=sum(report.changes for report in reports) / hours,
        reversals=sum(report.reversals for report in reports) / hours,
    )


def mean(scores: Iterable[Score]) -> Score:
    """The arithmetic means; the geometric mean of the costs."""
    results = list(scores)
    count = len(results)
    return Score(
        over=sum(score.over for score in results) / count,
        cost=exp(sum(log(score.cost) for score in results) / count),
        changes=sum(score.changes for score in results) / count,
        reversals=sum(score.reversals for score in results) / count,
    )


# --- the run ---------------------------------------------------------------------------------------------

_cases: list[Case] = []


def _load(traces: Path | None) -> None:
    _cases[:] = [*(recorded(traces) if traces else ()), *generated()]


def _score_of(combination: tuple[int, int, int]) -> Score:
    scenario, contender, case = combination
    return _score(_cases[case], CONTENDERS[contender], SCENARIOS[scenario])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print or write the tables; 1 if wait_target exceeds its bounds."""
    parser = argparse.ArgumentParser(prog="python -m bench.policies")
    parser.add_argument("--traces", type=Path)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args(arguments)
    _load(options.traces)
    combinations = [
        (scenario, contender, case)
        for scenario in range(len(SCENARIOS))
        for contender in range(len(CONTENDERS))
        for case in range(len(_cases))
    ]
    with ProcessPoolExecutor(2, initializer=_load, initargs=(options.traces,)) as pool:
        scores = dict(zip(combinations, pool.map(_score_of, combinations, chunksize=4), strict=True))
    page = _page(scores)
    if options.write:
        options.write.write_text(page)
    else:
        print(page)
    return _compare_with_keda(scores, with_traces=options.traces is not None)


def _set(scores: Mapping[tuple[int, int, int], Score], scenario: int, contender: int, *kinds: str) -> Score:
    return mean(scores[scenario, contender, index] for index, case in enumerate(_cases) if case.kind in kinds)


def _compare_with_keda(scores: Mapping[tuple[int, int, int], Score], *, with_traces: bool) -> int:
    """0 if no more jobs exceed the SLO than with the best KEDA setting, at most at 0.65 of its cost."""
    shipped = _set(scores, 0, 0, "real", "generated")
    kedas = [
        _set(scores, 0, index, "real", "generated")
        for index, contender in enumerate(CONTENDERS)
        if contender.name.startswith("KEDA")
    ]
    best = min(kedas, key=lambda score: score.over)
    ratio = shipped.cost / best.cost
    within = shipped.over <= best.over and ratio <= 0.65
    print(
        f"over the SLO {shipped.over:.4%} against {best.over:.4%}, cost {shipped.cost:.2f} against "
        f"{best.cost:.2f} = {ratio:.2f} (bound 0.65): {'met' if within else 'NOT MET'}",
        file=sys.stderr,
    )
    if with_traces:
        real = _set(scores, 0, 0, "real")
        within = within and real.over <= 0.005
        print(f"over the SLO on recorded traces {real.over:.4%} (bound 0.5 %)", file=sys.stderr)
    return 0 if within else 1


def _page(scores: Mapping[tuple[int, int, int], Score]) -> str:
    lines: list[str] = []
    for scenario, description in enumerate(SCENARIOS):
        lines += [
            f"## {str(description)[0].upper()}{str(description)[1:]}",
            "",
            *_summary(scores, scenario),
            "",
        ]
        lines += [*_per_case(scores, scenario), ""]
    return "\n".join(lines)


def _summary(scores: Mapping[tuple[int, int, int], Score], scenario: int) -> list[str]:
    kinds = [kind for kind in ("real", "generated", "batch") if any(case.kind == kind for case in _cases)]
    head = "".join(f" {kind}: over SLO | cost |" for kind in kinds)
    lines = [f"| all loads |{head} changes/h | reversals/h |", "|---|" + "--:|--:|" * len(kinds) + "--:|--:|"]
    for index, contender in enumerate(CONTENDERS):
        cells = "".join(
            f" {100 * score.over:.3f} % | {score.cost:.2f} |"
            for score in (_set(scores, scenario, index, kind) for kind in kinds)
        )
        most = _set(scores, scenario, index, "real", "generated")
        lines.append(f"| {contender.name} |{cells} {most.changes:.0f} | {most.reversals:.1f} |")
    return lines


def _per_case(scores: Mapping[tuple[int, int, int], Score], scenario: int) -> list[str]:
    shown = [0, *(index for index, contender in enumerate(CONTENDERS) if contender.name in _SHOWN)]
    head = "".join(f" {CONTENDERS[index].name} |" for index in shown)
    lines = [f"| load (jobs; mean run; concurrency) |{head}", "|---|" + "--:|" * len(shown)]
    for number, case in enumerate(_cases):
        cells = "".join(
            f" {100 * score.over:.2f} % at {score.cost:.2f} |"
            for score in (scores[scenario, index, number] for index in shown)
        )
        about = f"{case.name} ({len(case.load.at):,}; {case.run:.3g} s; {case.concurrency})"
        lines.append(f"| {about} |{cells}")
    return lines


_SHOWN: Final = (
    "KEDA, waiting + active at 0.3 x concurrency, down after 300 s",
    "KEDA, waiting + active at 0.7 x concurrency, down after 300 s",
    "waiting rule, 2 min, to waiting / 5",
)

if __name__ == "__main__":
    sys.exit(main())
