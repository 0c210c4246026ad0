"""The results of `bench.policies` as tables and as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from scaler.backtest.plant import Report

ORACLE: Final = "oracle"
_GROUPS: Final = ("changes", "shapes", "recorded", "long")
_APART: Final = frozenset({"starts of 40 s"})  # no policy can keep an SLO of 30 s there
_CRASHES: Final = frozenset({"crashing workers"})
_MARGIN: Final = 0.03
_MOST_SHOWN: Final = 4.0
_LEAST_SHOWN: Final = 0.005


class Key(NamedTuple):
    """One run: seconds between decisions, contender, scenario, seed."""

    interval: float
    contender: str
    scenario: str
    seed: int


@dataclass(frozen=True)
class Score:
    """Share over the SLO, worker time / least possible; reversals and starts an hour; attempts killed;
    `of_oracle`: cost / the oracle's."""

    group: str
    over: float
    cost: float
    flaps: float
    starts: float
    killed: float
    of_oracle: float = 1.0

    @staticmethod
    def of(report: Report, group: str) -> Score:
        hours = report.seconds / 3600
        return Score(
            group,
            report.over,
            report.cost,
            report.reversals / hours,
            report.starts / hours,
            report.killed,
        )

    def beats(self, other: Score) -> bool:
        """Fewer late and cheaper."""
        return self.over < other.over and self.cost < other.cost


Results: TypeAlias = dict[Key, Score]


def mean(scores: Iterable[tuple[Score, Score]]) -> Score:
    """Of pairs with the oracle's score: arithmetic means; of costs the geometric mean."""
    pairs = list(scores)
    count = len(pairs)

    def average(values: Iterable[float]) -> float:
        return sum(values) / count

    def geometric(values: Iterable[float]) -> float:
        return exp(sum(map(log, values)) / count)

    return Score(
        "",
        average(score.over for score, _ in pairs),
        geometric(score.cost for score, _ in pairs),
        average(score.flaps for score, _ in pairs),
        average(score.starts for score, _ in pairs),
        sum(score.killed for score, _ in pairs),
        geometric(score.cost / oracle.cost for score, oracle in pairs),
    )


def of_group(results: Results, interval: float, contender: str, *groups: str) -> Score | None:
    """The mean over the scenarios of some groups, without those set apart; None if there are none."""
    pairs = [
        (score, results[Key(interval, ORACLE, key.scenario, key.seed)])
        for key, score in results.items()
        if key.interval == interval
        and key.contender == contender
        and score.group in groups
        and key.scenario not in _APART
    ]
    return mean(pairs) if pairs else None


def main_set(results: Results, interval: float, contender: str) -> Score:
    """The mean over all scenarios but trouble, long jobs, and starts that are slower than the SLO."""
    score = of_group(results, interval, contender, "changes", "shapes", "recorded")
    if score is None:
        raise ValueError(f"no results of {contender}")
    return score


def page(results: Results, contenders: Sequence[str], rhythms: Sequence[float]) -> str:
    """The tables in Markdown."""
    parts = []
    for interval in rhythms:
        parts += [
            f"## Scrapes and decisions every {interval:g} s",
            "",
            *_table(results, interval, contenders),
            "",
        ]
    quick = rhythms[0]
    parts += [
        f"## Scenario by scenario, every {quick:g} s",
        "",
        *_by_scenario(results, quick, contenders),
        "",
    ]
    parts += ["## Where another is better", ""]
    for interval in rhythms:
        parts += _weak_cases(results, interval, contenders)
    return "\n".join(parts) + "\n"


def _cell(score: Score | None) -> str:
    return "" if score is None else f"{100 * score.over:.2f} / {score.cost:.2f}"


def _table(results: Results, interval: float, contenders: Sequence[str]) -> list[str]:
    groups = [group for group in _GROUPS if of_group(results, interval, ORACLE, group)]
    head = "".join(f" {group} |" for group in groups)
    lines = [
        f"| % late / cost |{head} all but long | / oracle | flaps/h | starts/h | killed |",
        "|---|" + "--:|" * (len(groups) + 5),
    ]
    for contender in (*contenders, ORACLE):
        cells = "".join(f" {_cell(of_group(results, interval, contender, group))} |" for group in groups)
        whole = main_set(results, interval, contender)
        killed = _killed_by_scaling(results, interval, contender)
        rest = f"{whole.of_oracle:.2f} | {whole.flaps:.0f} | {whole.starts:.0f} | {killed:.0f}"
        lines.append(f"| {contender} |{cells} {_cell(whole)} | {rest} |")
    return lines


def _killed_by_scaling(results: Results, interval: float, contender: str) -> float:
    """Attempts that were killed with their worker, in all scenarios where none crashes by itself."""
    return sum(
        score.killed
        for key, score in results.items()
        if key.interval == interval and key.contender == contender and key.scenario not in _CRASHES
    )


_SHOWN: Final = (
    "wait_target",
    "wait_target, start_cost_seconds 0",
    "Knative at 0.85",
    "KEDA at 1 of capacity",
    ORACLE,
)


def scenario_means(results: Results, interval: float, contender: str) -> Mapping[str, Score]:
    """The mean of each scenario's seeds."""
    names = dict.fromkeys(key.scenario for key in results)
    return {
        name: mean(
            (score, results[Key(interval, ORACLE, name, key.seed)])
            for key, score in results.items()
            if key.interval == interval and key.contender == contender and key.scenario == name
        )
        for name in names
    }


def _by_scenario(results: Results, interval: float, contenders: Sequence[str]) -> list[str]:
    shown = [name for name in _SHOWN if name == ORACLE or name in contenders]
    means = {contender: scenario_means(results, interval, contender) for contender in shown}
    lines = ["| % late / cost |" + "".join(f" {name} |" for name in shown), "|---|" + "--:|" * len(shown)]
    for scenario in means[ORACLE]:
        cells = "".join(f" {_with_killed(means[contender][scenario])} |" for contender in shown)
        lines.append(f"| {scenario} |{cells}")
    return lines


def _with_killed(score: Score) -> str:
    return _cell(score) + (f", {score.killed:.0f} killed" if score.killed else "")


def _weak_cases(results: Results, interval: float, contenders: Sequence[str]) -> list[str]:
    """Scenarios in which an anchor is cheaper by 3 % with as few late, or with fewer."""
    own = scenario_means(results, interval, contenders[0])
    lines = []
    for contender in contenders:
        if contender.startswith("wait_target"):
            continue
        for name, score in scenario_means(results, interval, contender).items():
            ours = own[name]
            if score.cost < ours.cost * (1 - _MARGIN) and score.over <= ours.over:
                lines.append(
                    f"- every {interval:g} s, {name}: {contender} {_cell(score)}, wait_target {_cell(ours)}"
                )
    return lines or [f"- every {interval:g} s: none."]


def plot(results: Results, contenders: Sequence[str], interval: float, file: Path) -> None:
    """The Pareto picture: cost against the share of late jobs, each contender with its number."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "oxherd"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9.5, 5.5), layout="constrained")
    for number, contender in enumerate((*contenders, ORACLE), 1):
        score = main_set(results, interval, contender)
        ours = contender.startswith("wait_target")
        colour = "#c0392b" if ours else "#27ae60" if contender == ORACLE else "#2c3e50"
        cost, late = min(score.cost, _MOST_SHOWN), max(score.over * 100, _LEAST_SHOWN)
        axes.plot(cost, late, "o", color=colour, ms=13, zorder=3, label=f"{number}  {contender}")
        axes.annotate(
            str(number), (cost, late), color="white", fontsize=8, ha="center", va="center", zorder=4
        )
    axes.set_yscale("log")
    axes.set_xlabel(f"worker time / least possible (at most {_MOST_SHOWN:g})")
    axes.set_ylabel(f"% of jobs that waited over the SLO (at least {_LEAST_SHOWN:g})")
    axes.grid(visible=True, alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False, markerscale=0.6)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)
