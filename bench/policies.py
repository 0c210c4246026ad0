"""Compares policies in simulated time: `python -m bench.policies --traces DIR --write FILE --picture FILE`.

Every contender gets the same jobs and the same start-up times. The seeds of HOLD_OUT are for judging only: a
change of the policy is tried on those of TUNE (`--tune`). Ends with 1 if wait_target exceeds its bounds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from operator import attrgetter
from pathlib import Path
from typing import Final

from bench.contenders import ANCHOR, CONTENDERS, DEFAULT, MAX_WORKERS, THRIFTY, Contender
from bench.oracle import best
from bench.policy_report import ORACLE, Key, Results, Score, main_set, page, plot, scenario_means
from bench.scenarios import Scenario, generated, scenario_names
from bench.traces import recorded, trace_names
from scaler.backtest.plant import Report
from scaler.backtest.simulate import simulate

TUNE: Final = (1, 2, 3)
HOLD_OUT: Final = (3001, 3002, 3003, 3004)
RHYTHMS: Final = (5.0, 15.0)

_MOST_LATE: Final = 0.0015
_MOST_THRIFTY_COST: Final = 0.75  # of Knative's at 0.85
_MOST_COST: Final = 0.85
_MOST_OF_ORACLE: Final = 1.25
_MOST_FLAPS: Final = 30.0

_SCENARIO_BOUNDS: Final[tuple[tuple[str, Callable[[Score], float], float], ...]] = (
    ("run time x5", attrgetter("over"), 0.005),
    ("run time x3 to x6, often", attrgetter("over"), 0.005),
    ("limiter", attrgetter("cost"), 2.0),
    ("pauses", attrgetter("cost"), 2.0),
    ("retries with backoff", attrgetter("cost"), 1.5),
    ("cron of 500, delayed jobs", attrgetter("over"), 0.0),
    ("jobs of 10 min, flat", attrgetter("killed"), 0.0),
    ("jobs of 10 min, day", attrgetter("killed"), 0.0),
)
"""Of single scenarios: share of late jobs, cost, or jobs killed."""


def run_contender(contender: Contender, scenario: Scenario, interval: float, seed: int) -> Report:
    """One contender on one scenario, with scrapes and decisions every `interval` seconds."""
    plant = scenario.plant(interval=interval, scrape=interval, phase=contender.phase * interval, seed=seed)
    controller = contender.make(scenario, interval)
    return simulate(scenario.load, plant, controller, slo=scenario.slo, until=scenario.seconds)


def scenario_of(name: str, seed: int, traces: Path | None = None) -> Scenario:
    """A generated scenario, or a recorded one."""
    if name in scenario_names():
        return generated(name, seed)
    if traces is None:
        raise ValueError(f"{name}: a recorded load needs the folder of traces")
    return recorded(traces, name, seed)


def scores_of(combination: tuple[str, int], traces: Path | None) -> Results:
    """All contenders and the oracle on one scenario and seed."""
    name, seed = combination
    scenario = scenario_of(name, seed, traces)
    results: Results = {}
    for interval, contender in product(RHYTHMS, CONTENDERS):
        report = run_contender(contender, scenario, interval, seed)
        results[Key(interval, contender.name, name, seed)] = Score.of(report, scenario.group)
    report = best(scenario, most=MAX_WORKERS, seed=seed)
    for interval in RHYTHMS:
        results[Key(interval, ORACLE, name, seed)] = Score.of(report, scenario.group)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Print or write the tables; 1 if wait_target exceeds its bounds."""
    parser = argparse.ArgumentParser(prog="python -m bench.policies")
    parser.add_argument("--traces", type=Path, help="folder of recorded loads, see bench/traces.py")
    parser.add_argument("--write", type=Path, help="file of the tables, in Markdown")
    parser.add_argument("--picture", type=Path, help="file of the Pareto front, .svg or .png")
    parser.add_argument("--tune", action="store_true", help="the seeds for trying changes")
    options = parser.parse_args(arguments)
    names = [*scenario_names(), *(trace_names() if options.traces else ())]
    seeds = TUNE if options.tune else HOLD_OUT
    results: Results = {}
    with ProcessPoolExecutor(2) as pool:
        run = partial(scores_of, traces=options.traces)
        for part in pool.map(run, product(names, seeds)):
            results |= part
    text = page(results, [contender.name for contender in CONTENDERS], RHYTHMS)
    if options.write:
        options.write.write_text(text)
    else:
        print(text)
    if options.picture:
        plot(results, [contender.name for contender in CONTENDERS], RHYTHMS[0], options.picture)
    return _judge(results)


def _judge(results: Results) -> int:
    """0 if every bound holds; a line for each."""
    quick = RHYTHMS[0]
    default, thrifty, knative = (main_set(results, quick, name) for name in (DEFAULT, THRIFTY, ANCHOR))
    bounds = (
        ("late, default", default.over, _MOST_LATE),
        ("late, start_cost_seconds 0", thrifty.over, _MOST_LATE),
        ("cost / Knative at 0.85, start_cost_seconds 0", thrifty.cost / knative.cost, _MOST_THRIFTY_COST),
        ("cost / oracle, start_cost_seconds 0", thrifty.of_oracle, _MOST_OF_ORACLE),
        ("cost / Knative at 0.85, default", default.cost / knative.cost, _MOST_COST),
        ("flaps an hour, default", default.flaps, _MOST_FLAPS),
        *(
            (f"{scenario}, {contender}", figure(scenario_means(results, quick, contender)[scenario]), bound)
            for scenario, figure, bound in _SCENARIO_BOUNDS
            for contender in (DEFAULT, THRIFTY)
        ),
    )
    for what, value, bound in bounds:
        print(
            f"{what}: {value:.4f} (at most {bound:g}) {'' if value <= bound else 'NOT MET'}", file=sys.stderr
        )
    slow = RHYTHMS[1]
    ours = main_set(results, slow, DEFAULT), main_set(results, slow, THRIFTY)
    beaten = [
        contender.name
        for contender in CONTENDERS
        if not contender.ours and any(main_set(results, slow, contender.name).beats(own) for own in ours)
    ]
    print(f"every {slow:g} s beaten on both axes by: {', '.join(beaten) or 'none'}", file=sys.stderr)
    return int(bool(beaten) or any(value > bound for _, value, bound in bounds))


if __name__ == "__main__":
    sys.exit(main())
