"""The picture of docs/scaling-formula.md: the needs and the workers while the rate rises sixfold.

`python -m bench.formula FILE`
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from bench.contenders import Shipped, policy_settings
from bench.loads import arrivals, run_times
from bench.scenarios import Scenario
from scaler.backtest.plant import Load
from scaler.backtest.simulate import simulate
from scaler.model import Decision, Observation

_SECONDS: Final = 900.0
_NEEDS: Final = {"queue": "#c0392b", "load": "#2980b9", "kept": "#8e44ad"}


@dataclass
class _Watched(Shipped):
    decisions: list[tuple[Observation, Decision]] = field(default_factory=list)

    def decide(self, observation: Observation) -> int:
        workers = super().decide(observation)
        if self.decision is not None:
            self.decisions.append((observation, self.decision))
        return workers


def watched() -> list[tuple[Observation, Decision]]:
    """Jobs of 2 s, 2 a second and 12 from the fifth to the tenth minute; workers with 4 slots."""
    random = Random(5)
    at = arrivals(lambda time: 12.0 if 300 <= time < 600 else 2.0, _SECONDS, random)
    load = Load(at, run_times(at, 2.0, random))
    scenario = Scenario("formula", "changes", load, _SECONDS, 4, start=(20.0, 30.0))
    controller = _Watched(policy_settings(scenario, {}), 5.0)
    plant = scenario.plant(interval=5.0, scrape=5.0, phase=0.5, seed=1)
    simulate(load, plant, controller, slo=scenario.slo, until=_SECONDS)
    return controller.decisions


def main(arguments: list[str]) -> int:
    """Write the picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    decisions = [pair for pair in watched() if "rate" in pair[1].inputs]
    times = [observation.time for observation, _ in decisions]
    figure, (upper, lower) = plt.subplots(2, 1, sharex=True, figsize=(9, 6), layout="constrained")
    for name, colour in _NEEDS.items():
        slots = [decision.inputs[f"{name}_slots"] / 4 for _, decision in decisions]
        upper.plot(times, slots, color=colour, lw=1.2, label=f"need: {name}")
    requested = [decision.workers for _, decision in decisions]
    upper.step(times, requested, where="post", color="black", lw=1.6, label="workers decided")
    ready = [observation.ready or 0 for observation, _ in decisions]
    upper.step(times, ready, where="post", color="grey", lw=1.0, ls="--", label="workers ready")
    upper.set_ylabel("workers")
    upper.set_ylim(0, max(requested) * 1.3)
    upper.legend(fontsize="small")
    waits = [decision.inputs["oldest_seconds"] for _, decision in decisions]
    lower.plot(times, waits, color="#c0392b", lw=1.2, label="the oldest job has waited")
    lower.axhline(30, color="black", lw=0.8, ls=":", label="SLO")
    lower.set_ylabel("seconds")
    lower.set_xlabel("seconds; the rate is six times as high from 300 to 600")
    lower.legend(fontsize="small")
    mpl.rcParams["svg.hashsalt"] = "oxherd"
    figure.savefig(Path(arguments[0]), metadata={"Date": None})
    plt.close(figure)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
