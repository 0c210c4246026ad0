"""A plan as JSON data and as tables."""

from __future__ import annotations

from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scaler.config.settings import PolicySettings
from scaler.plan.demand import DAYS, HOURS_OF_WEEK
from scaler.plan.make import Plan
from scaler.plan.paste import planned_keys
from scaler.plan.promise import Bounds
from service.units import count, duration, percent, plain, printable

_UNKNOWN: Final = "?"


def plan_data(plan: Plan, policy: PolicySettings, price: float | None) -> dict[str, Any]:
    """JSON data: seconds, shares from 0 to 1, worker-hours and price of a week; null: not known."""
    return {
        "target": plan.target.name,
        "recorded_hours": plan.recorded,
        "jobs": plan.jobs,
        "slo_seconds": plan.bounds.slo.seconds,
        "within": plan.bounds.slo.within,
        "kept": plan.bounds.kept,
        "settings": planned_keys(plan, policy),
        "concurrency": {
            "jobs": plan.concurrency,
            "measured": plan.measured,
            "enough": plan.fitting,
        },
        "grace_seconds": plan.grace,
        "run_p99_seconds": None if plan.runs is None else plan.runs.seconds,
        "slos": [_bounds_data(bounds, price) for bounds in _by_slo(plan)],
        "fixed": {
            "workers": plan.fixed_workers,
            "worker_hours": plan.fixed_hours,
            "price": _price(plan.fixed_hours, price),
        },
        "by_hour": {"worker_hours": plan.scheduled_hours, "price": _price(plan.scheduled_hours, price)},
        "hours": [_hour_data(plan, number) for number in range(HOURS_OF_WEEK)],
        "notes": list(plan.notes),
    }


def _bounds_data(bounds: Bounds, price: float | None) -> dict[str, Any]:
    return {
        "slo_seconds": bounds.slo.seconds,
        "kept": bounds.kept,
        "min_workers": bounds.min_workers,
        "max_workers": bounds.max_workers,
        "over_slo": bounds.over,
        "wait_p99_seconds": bounds.p99,
        "worker_hours": bounds.worker_hours,
        "price": _price(bounds.worker_hours, price),
        "starts": bounds.starts,
    }


def _hour_data(plan: Plan, number: int) -> dict[str, Any]:
    hour = plan.hours.get(number)
    return {
        "hour": number,
        "weeks": hour.weeks if hour else 0,
        "jobs_per_second": hour.rate if hour else None,
        "busy_slots": hour.busy if hour else None,
        "workers": hour.workers if hour else None,
    }


def _by_slo(plan: Plan) -> list[Bounds]:
    return sorted((plan.bounds, *plan.others), key=lambda bounds: bounds.slo.seconds)


def _price(worker_hours: float, price: float | None) -> float | None:
    return None if price is None else worker_hours * price


def plan_table(plan: Plan, price: float | None) -> RenderableType:
    """What was recorded, the workers by hour of the week, the SLOs, and what else is to be said."""
    slo = plan.bounds.slo
    kept = "keep" if plan.bounds.kept else "do not keep"
    bounds = f"{plan.bounds.min_workers} to {plan.bounds.max_workers} workers {kept}"
    parts: list[RenderableType] = [
        Text(
            f"{printable(plan.target.name)}: {count(plan.jobs)} jobs in {count(plan.recorded)} recorded "
            f"hours; {bounds} an SLO of {plain(slo.seconds)} s for {percent(slo.within)} of them",
            "bold" if plan.bounds.kept else "bold red",
        ),
        *(Text(f"  {line}") for line in _facts(plan)),
        *(Text(f"  {printable(note)}", "yellow") for note in plan.notes),
        Text(),
        Text("workers by hour of the week (UTC), as a fixed number in each hour:"),
        _hours_table(plan),
        Text("SLOs, a week each:"),
        _slo_table(plan, price),
    ]
    return Group(*parts)


def _facts(plan: Plan) -> list[str]:
    source = "measured" if plan.measured else "as set"
    lines = [f"a worker runs {plan.concurrency} jobs at once ({source})"]
    if plan.runs is not None and plan.grace is not None:
        lines.append(
            f"1 in 100 jobs of {printable(plan.runs.queue)} runs over {plain(plan.runs.seconds)} s: "
            f"a grace period of {duration(plan.grace)}"
        )
    return lines


def _hours_table(plan: Plan) -> Table:
    table = Table(box=None, padding=(0, 0, 0, 1))  # 24 numbers of two digits fit 80 columns
    table.add_column("")
    for hour in range(24):
        table.add_column(f"{hour:02}", justify="right", no_wrap=True)
    for day, name in enumerate(DAYS):
        hours = [plan.hours.get(day * 24 + hour) for hour in range(24)]
        table.add_row(name, *(_UNKNOWN if hour is None else str(hour.workers) for hour in hours))
    return table


def _slo_table(plan: Plan, price: float | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    names = ["SLO", "min", "max", "over SLO", "wait p99", "starts", "worker-hours"]
    for name in [*names, *(["price"] if price is not None else [])]:
        table.add_column(name, justify="left" if name == "SLO" else "right")
    for bounds in _by_slo(plan):
        planned = ", planned" if bounds is plan.bounds else ""
        table.add_row(
            f"{plain(bounds.slo.seconds)} s{planned}{'' if bounds.kept else ', not kept'}",
            str(bounds.min_workers),
            str(bounds.max_workers),
            f"{100 * bounds.over:.2f} %",
            f"{bounds.p99:.1f} s",
            count(bounds.starts),
            *_hours_and_price(bounds.worker_hours, price),
        )
    fixed = str(plan.fixed_workers)
    for name, number, hours in (
        ("a fixed number, for the busiest hour", fixed, plan.fixed_hours),
        ("the number of each hour of the week", "", plan.scheduled_hours),
    ):
        table.add_row(name, number, number, "", "", "", *_hours_and_price(hours, price))
    return table


def _hours_and_price(worker_hours: float, price: float | None) -> list[str]:
    cost = _price(worker_hours, price)
    return [f"{worker_hours:,.1f}", *([] if cost is None else [f"{cost:,.2f}"])]
