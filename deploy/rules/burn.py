"""Alerts on objectives: how fast the error budget of 30 days is used up, for late jobs and for failed ones.

The windows and factors are those of Google's SRE workbook. A long window is the sum of what was counted every
5 minutes: Prometheus would have to load millions of samples of each queue for `rate(...[3d])`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from deploy.histograms import counted, counted_above
from deploy.rules.affected import Affected, one_each_queue
from deploy.rules.rule import Alert, RuleJson, Severity, recording
from deploy.rules.thresholds import AlertThresholds, as_percent, number

FAST: Final = (("1h", "5m", 14.4), ("6h", "30m", 6.0))
SLOW: Final = (("1d", "2h", 3.0), ("3d", "6h", 1.0))
"""A long window, a short one that ends the alert soon after its cause, and the burn rate of both."""

_SHORT: Final = ("5m", "30m", "1h")
_LONG: Final = ("2h", "6h", "1d", "3d")
_BUDGET: Final = "30d"
_BY: Final = "sum by (job, prefix, queue)"
_WAITS: Final = "bullmq_job_wait_seconds"


@dataclass(frozen=True, slots=True)
class Objective:
    """An alert's name, the recorded series behind it, the setting of the share that is allowed, the texts."""

    alert: str
    series: str
    setting: Literal["wait_objective", "failure_objective"]
    summary: str
    what: str


WAIT: Final = Objective(
    "QueueWaitBudgetBurn",
    "queue:bullmq_job_wait_slow",
    "wait_objective",
    "Jobs wait too long.",
    "wait longer than their objective",
)
FAILURE: Final = Objective(
    "QueueFailureBudgetBurn",
    "queue:bullmq_job_failed",
    "failure_objective",
    "Too many jobs fail.",
    "fail more often than their objective",
)
OBJECTIVES: Final = (WAIT, FAILURE)


def counts(t: AlertThresholds) -> list[RuleJson]:
    """What each queue counted in 5 minutes, to be evaluated every 5 minutes."""
    return [
        rule
        for objective in OBJECTIVES
        for rule in (
            recording(f"{objective.series}:increase5m", _bad(t, objective, "increase", "5m")),
            recording(f"{objective.series}_of:increase5m", _all(t, objective, "increase", "5m")),
        )
    ]


def ratios(t: AlertThresholds) -> list[RuleJson]:
    """The ratio of bad jobs to all in each window; absent where there was none."""
    rules = []
    for objective in OBJECTIVES:
        for window in _SHORT:
            ratio = f"({_bad(t, objective, 'rate', window)})\n/ ({_all(t, objective, 'rate', window)} > 0)"
            rules.append(recording(_ratio(objective, window), ratio))
        rules += [recording(_ratio(objective, window), _summed(t, objective, window)) for window in _LONG]
    return rules


def budgets(t: AlertThresholds) -> list[RuleJson]:
    """What is left of each queue's budget: 1 is all, 0 none, below 0 more was used than there was."""
    return [
        recording(f"{objective.series}:budget_left{_BUDGET}", f"1 - (\n{_burn(t, objective, _BUDGET)}\n)")
        for objective in OBJECTIVES
    ]


def burning(t: AlertThresholds) -> Iterator[Alert]:
    """One alert for the fast windows and one for the slow ones, which is silent while the fast one fires."""
    for objective in OBJECTIVES:
        fast = _alert(t, objective, "", windows=FAST, severity="high", cooldown="10m")
        slow = _alert(t, objective, "Slow", windows=SLOW, severity="medium", cooldown="30m")
        yield fast
        yield slow


def _alert(
    t: AlertThresholds,
    objective: Objective,
    suffix: str,
    *,
    windows: tuple[tuple[str, str, float], ...],
    severity: Severity,
    cooldown: str,
) -> Alert:
    burns = "\n  or ".join(
        f"(({_burn(t, objective, long)}) > {factor:g} and ({_burn(t, objective, short)}) > {factor:g})"
        for long, short, factor in windows
    )
    silent = (
        f'\nunless on (job) ALERTS{{job="{t.job}", alertname="{objective.alert}", alertstate="firing"}}'
        if suffix
        else ""
    )
    named = " or ".join(f"{long} and {short}" for long, short, _ in windows)
    allowed = as_percent(1 - getattr(t, objective.setting))
    alert = Alert(
        objective.alert + suffix,
        severity,
        cooldown,
        for_="2m",
        affected=Affected(one_each_queue(f"(\n  {burns}\n  )"), note=" times", variable="queue"),
        expression=f"[affected]{silent}",
        summary=objective.summary,
        description=f"Queues whose jobs {objective.what} allows, in {named}, and how many times more: "
        f"[affected]. {allowed} may, where a queue has no objective of its own.",
    )
    return alert.one_for_each() if t.per_queue else alert


def _burn(t: AlertThresholds, objective: Objective, window: str) -> str:
    """How many times faster than allowed each queue uses up its budget."""
    return " or ".join(
        f"{_ratio_of(t, objective, window, queues)} / {1 - figures[objective.setting]:g}"
        for queues, figures in t.queue_objectives()
    )


def _ratio(objective: Objective, window: str) -> str:
    return f"{objective.series}:ratio_rate{window}"


def _ratio_of(t: AlertThresholds, objective: Objective, window: str, queues: str) -> str:
    if window == _BUDGET:
        return f"({_summed(t, objective, window, queues)})"
    return f'{_ratio(objective, window)}{{job="{t.job}"{queues}}}'


def _summed(t: AlertThresholds, objective: Objective, window: str, queues: str = "") -> str:
    bad, every = (
        f'sum_over_time({objective.series}{part}:increase5m{{job="{t.job}"{queues}}}[{window}])'
        for part in ("", "_of")
    )
    return f"{bad} / ({every} > 0)"


def _bad(t: AlertThresholds, kind: Objective, function: str, window: str) -> str:
    """Late or failed jobs. Two exporters of one Redis count the same jobs, which is the same ratio."""
    if kind is FAILURE:
        return f'{_BY} ({function}(bullmq_job_failed_total{{job="{t.job}"}}[{window}]))'
    return "\nor ".join(_late(t, function, window, *objective) for objective in t.queue_objectives())


def _late(t: AlertThresholds, function: str, window: str, queues: str, figures: Mapping[str, float]) -> str:
    seconds, selector = figures["wait_seconds"], f'job="{t.job}"{queues}'
    le = f'le=~"{number(seconds)}([.]0)?"'
    return counted_above(_WAITS, selector, function, window, _BY, seconds=seconds, le=le)


def _all(t: AlertThresholds, objective: Objective, function: str, window: str) -> str:
    """All jobs that were started, or that ended."""
    job = f'job="{t.job}"'
    if objective is WAIT:
        return counted(_WAITS, job, function, window, _BY)
    return (
        f"({_BY} ({function}(bullmq_job_completed_total{{{job}}}[{window}]))\n"
        f"  + {_BY} ({function}(bullmq_job_failed_total{{{job}}}[{window}])))"
    )
