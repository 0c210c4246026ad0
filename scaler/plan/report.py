"""A plan as JSON data and as tables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scaler.commands.tables import Hanging
from scaler.config.settings import PolicySettings
from scaler.plan.demand import HOURS_OF_WEEK
from scaler.plan.make import TargetPlan
from scaler.plan.paste import planned_keys
from scaler.plan.promise import Bounds
from service.catalogs import TRANSLATORS
from service.commands.columns import Column, make_table
from service.i18n import Translator, of_locale
from service.units import count, duration, percent, plain, printable

_UNKNOWN: Final = "?"


def plan_data(plan: TargetPlan, policy: PolicySettings, price: float | None) -> dict[str, Any]:
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


def _hour_data(plan: TargetPlan, number: int) -> dict[str, Any]:
    hour = plan.hours.get(number)
    return {
        "hour": number,
        "weeks": hour.weeks if hour else 0,
        "jobs_per_second": hour.rate if hour else None,
        "busy_slots": hour.busy if hour else None,
        "workers": hour.workers if hour else None,
    }


def _by_slo(plan: TargetPlan) -> list[Bounds]:
    return sorted((plan.bounds, *plan.others), key=lambda bounds: bounds.slo.seconds)


def _price(worker_hours: float, price: float | None) -> float | None:
    return None if price is None else worker_hours * price


_COLUMNS: Final[Mapping[str, Column]] = {
    "slo": Column("plan.column.slo"),
    "min": Column("plan.column.min", number=True),
    "max": Column("plan.column.max", number=True),
    "over": Column("plan.column.over", number=True),
    "p99": Column("plan.column.p99", number=True),
    "starts": Column("plan.column.starts", number=True),
    "worker_hours": Column("plan.column.worker_hours", number=True),
    "price": Column("plan.column.price", number=True),
}


def plan_table(plan: TargetPlan, price: float | None) -> RenderableType:
    """What was recorded, the workers by hour of the week, the SLOs, and what else is to be said."""
    translator = TRANSLATORS[of_locale(os.environ)]
    slo, kept = plan.bounds.slo, plan.bounds.kept
    bounds = {"min": plan.bounds.min_workers, "max": plan.bounds.max_workers} if kept else {}
    summary = translator.translate(
        "plan.kept" if kept else "plan.not_kept",
        target=plan.target.name,
        jobs=count(plan.jobs),
        hours=count(plan.recorded),
        slo=plain(slo.seconds),
        share=percent(slo.within),
        **bounds,
    )
    without = () if price is not None else ("price",)
    return Group(
        Hanging(Text(printable(summary), "bold" if kept else "bold red")),
        *(Hanging(Text(printable(f"  {line}"))) for line in _facts(plan, translator)),
        *(Hanging(Text(printable(f"  {note}"), "yellow")) for note in plan.notes),
        Text(),
        Text(translator.translate("plan.hours")),
        _hours_table(plan, translator),
        Text(),
        Text(translator.translate("plan.slos")),
        make_table(_COLUMNS, list(_slo_rows(plan, price, translator)), translator, without=without),
        Text(),
    )


def _facts(plan: TargetPlan, translator: Translator) -> Iterator[str]:
    source = "plan.concurrency_measured" if plan.measured else "plan.concurrency_set"
    yield translator.translate(source, jobs=plan.concurrency)
    if plan.runs is not None and plan.grace is not None:
        yield translator.translate(
            "plan.grace", queue=plan.runs.queue, run=plain(plan.runs.seconds), grace=duration(plan.grace)
        )


def _hours_table(plan: TargetPlan, translator: Translator) -> Table:
    table = Table(box=None, padding=(0, 0, 0, 1))  # 24 numbers of two digits fit 80 columns
    table.add_column("")
    for hour in range(24):
        table.add_column(f"{hour:02}", justify="right", no_wrap=True)
    for day, name in enumerate(translator.translate("plan.days").split()):
        hours = [plan.hours.get(day * 24 + hour) for hour in range(24)]
        table.add_row(name, *(_UNKNOWN if hour is None else str(hour.workers) for hour in hours))
    return table


def _slo_rows(plan: TargetPlan, price: float | None, translator: Translator) -> Iterator[dict[str, str]]:
    for bounds in _by_slo(plan):
        title = "plan.slo_planned" if bounds is plan.bounds else "plan.slo"
        yield {
            "slo": translator.translate(
                title if bounds.kept else "plan.slo_not_kept", slo=plain(bounds.slo.seconds)
            ),
            "min": str(bounds.min_workers),
            "max": str(bounds.max_workers),
            "over": f"{100 * bounds.over:.2f} %",
            "p99": f"{bounds.p99:.1f} s",
            "starts": count(bounds.starts),
            **_hours_and_price(bounds.worker_hours, price),
        }
    fixed = str(plan.fixed_workers)
    for title, number, hours in (
        ("plan.fixed", fixed, plan.fixed_hours),
        ("plan.by_hour", "", plan.scheduled_hours),
    ):
        row = dict.fromkeys(_COLUMNS, "") | {"slo": translator.translate(title), "min": number, "max": number}
        yield row | _hours_and_price(hours, price)


def _hours_and_price(worker_hours: float, price: float | None) -> dict[str, str]:
    cost = _price(worker_hours, price)
    return {"worker_hours": f"{worker_hours:,.1f}", "price": "" if cost is None else f"{cost:,.2f}"}
