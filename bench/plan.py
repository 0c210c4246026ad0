"""Plans and the week after: `python -m bench.plan --traces DIR --write FILE --picture FILE`.

Each load is recorded in a Prometheus of the lab and planned from it as `scaling plan` does. The settings that
it prints are read as the scaler reads its own, and tried in the simulator on the jobs of the following week:
the jobs themselves, not what was recorded of them. Ends with 1 if an SLO that was promised after a week or
more is not kept within a tenth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import yaml

from bench.plan_loads import DAY, WeeksOfJobs, loads_of
from lab.recorded import recorded_jobs, recorded_prometheus
from scaler.backtest.plant import Load, Report
from scaler.backtest.replay import replay_load
from scaler.commands.plan import PlanOptions, plan_of
from scaler.config.policy_layers import resolve
from scaler.config.settings import PolicySettings, ScalerSettings
from scaler.config.validation import load_scaler_settings
from scaler.plan.demand import HOUR_SECONDS, WEEK_SECONDS
from scaler.plan.make import TargetPlan
from scaler.plan.paste import settings_text
from scaler.plan.picture import plot_plans

_MONDAY: Final = 1_704_067_200  # 1 January 2024, 0:00 UTC
_STEP: Final = 60
_SCRAPE: Final = 15.0
_WITHIN: Final = 0.99
_TENTH: Final = 1.1
_PRICE: Final = 0.05
_COMPARED: Final = (7.5, 15.0, 60.0, 120.0)
_SHOWN: Final = "working hours"  # whose other SLOs are shown

COLUMNS: Final = (
    *("load", "planned from", "SLO", "min to max", "late, planned", "late, after", "wait p99, after"),
    *("worker-hours, planned", "after", "fixed", "kept"),
)


class Trial(NamedTuple):
    """A plan, and what became of its settings in the `seconds` after it."""

    load: str
    past: float
    plan: TargetPlan
    after: Report
    seconds: float

    @property
    def kept(self) -> bool:
        """Whether no more than a tenth more jobs were late than was promised."""
        return self.after.over <= self.plan.bounds.slo.late * _TENTH

    @property
    def worker_hours(self) -> float:
        """Of a week like the time after."""
        return self.after.worker_seconds / HOUR_SECONDS * WEEK_SECONDS / self.seconds


def trials_of(weeks: WeeksOfJobs) -> Iterator[Trial]:
    """Each of its plans, from a Prometheus of its own."""
    last = max(end for _, end in weeks.recorded)
    gaps = _gaps(weeks.recorded, last)
    series = recorded_jobs(
        weeks.at,
        weeks.runs,
        queue="jobs",
        begin=_MONDAY,
        seconds=int(last),
        step=_STEP,
        gaps=gaps,
    )
    with TemporaryDirectory() as home, recorded_prometheus(series, Path(home)) as url:
        for begin, end in weeks.trials:
            for slo in weeks.slos:
                text = _settings(url, weeks, slo)
                settings = load_scaler_settings(text, {}).model
                plan = _plan(settings, weeks, begin, slo)
                policy = planned_policy(text, settings, plan)
                at, runs = weeks.jobs_between(begin, end)
                report = replay_load(
                    Load(at, runs), policy, end - begin, interval=_SCRAPE, scrape=_SCRAPE, start=weeks.start
                )
                past = sum(max(0.0, min(until, begin) - since) for since, until in weeks.recorded)
                yield Trial(weeks.name, min(past, 4 * WEEK_SECONDS), plan, report, end - begin)


def trials_of_load(name: str, traces: Path | None) -> list[Trial]:
    """Of the load of this name; none if it is a trace's and there is no folder of them."""
    load = loads_of(traces).get(name)
    if load is None:
        return []
    trials = []
    for trial in trials_of(load()):
        trials.append(trial._replace(after=replace(trial.after, timeline=())))
        print(table(trials).splitlines()[-1], file=sys.stderr, flush=True)
    return trials


def _gaps(recorded: Sequence[tuple[float, float]], last: float) -> list[tuple[float, float]]:
    """The times from 0 to `last` that are in none of the spans; the end of a span was recorded."""
    gaps, at = [], 0.0
    for since, until in recorded:
        if since > at:
            gaps.append((at + (1 if at else 0), since))
        at = until
    return [*gaps, (at + 1, last + 1)] if at < last else gaps


def _settings(url: str, weeks: WeeksOfJobs, slo: float) -> str:
    return yaml.safe_dump(
        {
            "prometheus": {"urls": [url]},
            "targets": [
                {
                    "name": weeks.name,
                    "queues": ["jobs"],
                    "worker_concurrency": weeks.concurrency,
                    "wait_slo_seconds": slo,
                    "processes": {"command": ["node", "worker.js"]},
                }
            ],
        }
    )


def _plan(settings: ScalerSettings, weeks: WeeksOfJobs, end: float, slo: float) -> TargetPlan:
    shown = weeks.name == _SHOWN and slo == settings.defaults.wait_slo_seconds
    others = _COMPARED if shown else ()
    count = max(1, min(4, round(end / WEEK_SECONDS + 0.49)))
    options = PlanOptions(count, _STEP, None, _WITHIN, others, _PRICE, weeks.start, _SCRAPE)
    return plan_of(settings, settings.targets[0], options, end=_MONDAY + end)


def planned_policy(text: str, settings: ScalerSettings, plan: TargetPlan) -> PolicySettings:
    """The policy of the settings that the plan prints, pasted into the others. Raises ConfigError."""
    before = resolve(settings, settings.targets[0])
    pasted = yaml.safe_load(text) | yaml.safe_load(settings_text([(plan, before)]))
    after = load_scaler_settings(yaml.safe_dump(pasted), {}).model
    return resolve(after, after.targets[0])


def table(trials: Sequence[Trial]) -> str:
    """A row for each plan, in Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---|" + "--:|" * (len(COLUMNS) - 3) + "---|"]
    for trial in trials:
        bounds = trial.plan.bounds
        cells = (
            trial.load,
            _span(trial.past),
            f"{bounds.slo.seconds:g} s",
            f"{bounds.min_workers} to {bounds.max_workers}",
            f"{100 * bounds.over:.2f} %",
            f"{100 * trial.after.over:.2f} %",
            f"{trial.after.waits[0.99]:.1f} s",
            f"{bounds.worker_hours:.0f}",
            f"{trial.worker_hours:.0f}",
            f"{trial.plan.fixed_hours:.0f}",
            "yes" if trial.kept else "NO",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def slo_table(plan: TargetPlan) -> str:
    """What each SLO takes, in Markdown."""
    lines = [
        "| SLO | min to max | late | worker-hours a week | price a week | starts a week |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for bounds in plan.by_slo:
        cells = (
            f"{bounds.slo.seconds:g} s{'' if bounds.kept else ', not kept'}",
            f"{bounds.min_workers} to {bounds.max_workers}",
            f"{100 * bounds.over:.2f} %",
            f"{bounds.worker_hours:.0f}",
            f"{bounds.worker_hours * _PRICE:.2f}",
            f"{bounds.starts:.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    for name, hours in (
        (f"a fixed number, {plan.fixed_workers}", plan.fixed_hours),
        ("the number of each hour", plan.scheduled_hours),
    ):
        lines.append(f"| {name} | | | {hours:.0f} | {hours * _PRICE:.2f} | |")
    return "\n".join(lines) + "\n"


def _span(seconds: float) -> str:
    for size, unit in ((WEEK_SECONDS, "week"), (DAY, "day"), (HOUR_SECONDS, "hour")):
        if seconds >= size:
            count = round(seconds / size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds / 60:.0f} min"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print or write the tables; 1 if a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m bench.plan")
    parser.add_argument("--traces", type=Path, help="folder of recorded loads, see bench/traces.py")
    parser.add_argument("--only", help="loads whose name has this")
    parser.add_argument("--write", type=Path, help="file of the tables, in Markdown")
    parser.add_argument("--picture", type=Path, help="file of the picture, .svg or .png")
    options = parser.parse_args(arguments)
    names = [name for name in loads_of(options.traces) if (options.only or "") in name]
    trials: list[Trial] = []
    with ProcessPoolExecutor(2) as pool:
        for some in pool.map(partial(trials_of_load, traces=options.traces), names):
            trials += some
    shown = next((trial.plan for trial in trials if trial.plan.others), None)
    text = table(trials) + ("\n" + slo_table(shown) if shown is not None else "")
    if options.write:
        options.write.write_text(text)
    else:
        print(text)
    if options.picture and shown is not None:
        plot_plans([shown], str(options.picture), _PRICE)
    return int(not all(trial.kept for trial in trials if trial.past >= WEEK_SECONDS))


if __name__ == "__main__":
    sys.exit(main())
