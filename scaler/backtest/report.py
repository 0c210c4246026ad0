"""`scaling backtest`: the history replayed under one or more policies, as a table, as JSON, as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scaler.backtest.arrivals import ArrivalHistory, HistoryPoint, NothingRecordedError, arrival_history
from scaler.backtest.history import read_history
from scaler.backtest.plant import Report
from scaler.backtest.replay import replay
from scaler.config.policy_layers import checked_policy, resolve
from scaler.config.settings import PolicySettings, ScalerSettings, TargetSettings
from service.clock import Deadline, now
from service.config.files import read_text
from service.config.load import ConfigError
from service.config.marked_yaml import NotYamlError, parse
from service.units import count, duration, percent

_LIMITED: Final = 0.02  # of the time; less is noise
_TIMEOUT_SECONDS: Final = 120.0  # for all that is read of one target


@dataclass(frozen=True)
class BacktestResult:
    """One target's history, and the report of each policy by name."""

    target: str
    history: ArrivalHistory
    reports: Mapping[str, tuple[PolicySettings, Report]]


def policies_of(
    settings: ScalerSettings, target: TargetSettings, files: Sequence[str]
) -> dict[str, PolicySettings]:
    """The configured policy, and for each file, by its name, the same with its keys. Raises ConfigError."""
    policies = {"as configured": resolve(settings, target)}
    for file in files:
        try:
            changed, _ = parse(read_text(file, "--policy", "command line"))
            policies[Path(file).stem] = checked_policy(settings, target, changed)
        except NotYamlError as error:
            raise ConfigError("--policy", file, "command line", f"{error.where}: {error.why}") from None
        except ValueError as error:
            raise ConfigError("--policy", file, "command line", str(error)) from None
    return policies


def run_backtest(
    settings: ScalerSettings,
    target: TargetSettings,
    policies: Mapping[str, PolicySettings],
    *,
    since: float,
    step: float,
    start: tuple[float, float],
) -> BacktestResult:
    """Replay the last `since` seconds. Raises UnreadableError and NothingRecordedError."""
    end = float(int(now()))  # whole seconds: decimals would be rounded differently
    points: list[HistoryPoint] = read_history(
        settings, target, begin=end - since, end=end, step=step, deadline=Deadline.after(_TIMEOUT_SECONDS)
    )
    try:
        history = arrival_history(points, step, policies[next(iter(policies))].worker_concurrency)
        reports = {
            name: (
                policy,
                replay(history, policy, interval=settings.interval_seconds, scrape=step, start=start),
            )
            for name, policy in policies.items()
        }
    except NothingRecordedError as error:
        raise NothingRecordedError(f"{target.name}: {error}") from None
    return BacktestResult(target.name, history, reports)


def result_data(result: BacktestResult) -> dict[str, Any]:
    """JSON data: seconds, shares from 0 to 1, worker-hours."""
    history = result.history
    recorded = None if history.worker_seconds is None else history.worker_seconds / 3600
    return {
        "target": result.target,
        "seconds": history.end - history.begin,
        "jobs": history.jobs,
        "recorded_worker_hours": recorded,
        "limited": history.limited,
        "policies": [
            {
                "name": name,
                "policy": policy.policy,
                "slo_seconds": policy.wait_slo_seconds,
                "over_slo": report.over,
                "wait_p50_seconds": report.waits[0.5],
                "wait_p95_seconds": report.waits[0.95],
                "wait_p99_seconds": report.waits[0.99],
                "wait_longest_seconds": report.longest,
                "worker_hours": report.worker_seconds / 3600,
                "least_worker_hours": report.least_worker_seconds / 3600,
                "changes": report.changes,
                "reversals": report.reversals,
                "starts": report.starts,
            }
            for name, (policy, report) in result.reports.items()
        ],
    }


def result_table(result: BacktestResult) -> RenderableType:
    """A table with a row for each policy."""
    data = result_data(result)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in (
        "policy",
        "over SLO",
        "wait p50",
        "p95",
        "p99",
        "longest",
        "worker-hours",
        "changes",
        "reversals",
    ):
        table.add_column(name, justify="left" if name == "policy" else "right")
    for policy in data["policies"]:
        table.add_row(
            f"{policy['name']} ({policy['policy']}, SLO {policy['slo_seconds']:g} s)",
            f"{100 * policy['over_slo']:.2f} %",
            *(f"{policy[key]:.1f} s" for key in _WAITS),
            f"{policy['worker_hours']:.1f}",
            count(policy["changes"]),
            count(policy["reversals"]),
        )
    least = data["policies"][0]["least_worker_hours"]
    recorded = data["recorded_worker_hours"]
    lines = [f"{result.target}: {count(data['jobs'])} jobs in {duration(data['seconds'])}"]
    lines.append(
        f"the jobs need at least {least:.1f} worker-hours"
        + (f"; {recorded:.1f} were recorded" if recorded is not None else "")
    )
    if (data["limited"] or 0.0) > _LIMITED:
        lines.append(
            f"jobs waited beside free slots for {percent(data['limited'])} of the time, as behind a rate "
            "limit or a pause: this is not replayed, so that waits and workers are those without it"
        )
    return Group(*(Text(line) for line in lines), table)


_WAITS: Final = ("wait_p50_seconds", "wait_p95_seconds", "wait_p99_seconds", "wait_longest_seconds")


def check_plot(path: str) -> None:
    """Before the minutes that a backtest takes. Raises ConfigError: `plot` could not write to this path."""
    if find_spec("matplotlib") is None:
        why = "needs matplotlib: install oxherd[plot]"
        raise ConfigError("--plot", path, "command line", why)
    folder = Path(path).parent
    if not folder.is_dir():
        raise ConfigError("--plot", path, "command line", f"there is no folder {folder}")


def plot(results: Sequence[BacktestResult], path: str) -> None:
    """Arrivals, waiting jobs and workers over time, a column for each target.

    Raises ConfigError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7 * len(results), 9), layout="constrained")
    panels = figure.subplots(3, len(results), sharex="col", squeeze=False)
    for column, result in enumerate(results):
        arrivals, waiting, workers = (panels[row][column] for row in range(3))
        hours = [(at - result.history.begin) / 3600 for at, _, _ in result.history.arrivals]
        arrivals.plot(
            hours,
            [jobs / result.history.step for _, jobs, _ in result.history.arrivals],
            color="grey",
            lw=0.8,
        )
        arrivals.set(title=result.target, ylabel="arriving jobs/s")
        for name, (_, report) in result.reports.items():
            times = [point.time / 3600 for point in report.timeline]
            waiting.plot(times, [point.waiting for point in report.timeline], label=name, lw=0.8)
            workers.step(
                times, [point.requested for point in report.timeline], label=name, where="post", lw=0.9
            )
        waiting.set(ylabel="waiting jobs")
        workers.set(ylabel="workers", xlabel="hours")
        workers.legend(fontsize="small")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise ConfigError("--plot", path, "command line", str(error)) from None
