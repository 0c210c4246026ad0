"""What `scaling plan` prints of a target: the workers by hour of the week, and what each SLO takes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scaler.commands.tables import Hanging
from scaler.plan.make import TargetPlan
from scaler.plan.promise import Bounds
from scaler.plan.report import price_of
from service.catalogs import TRANSLATORS
from service.commands.columns import Column, make_table
from service.i18n import Translator, of_locale
from service.units import count, duration, percent, plain, printable

_UNKNOWN: Final = "?"

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
    kept = plan.bounds.kept
    summary = _summary(plan, translator)
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


def _summary(plan: TargetPlan, translator: Translator) -> str:
    slo, bounds = plan.bounds.slo, plan.bounds
    if not bounds.kept:
        return translator.translate(
            "plan.not_kept",
            target=plan.target.name,
            jobs=count(plan.jobs),
            hours=count(plan.recorded),
            slo=plain(slo.seconds),
            share=percent(slo.within),
        )
    return translator.translate(
        "plan.kept",
        target=plan.target.name,
        jobs=count(plan.jobs),
        hours=count(plan.recorded),
        slo=plain(slo.seconds),
        share=percent(slo.within),
        min=bounds.min_workers,
        max=bounds.max_workers,
    )


def _facts(plan: TargetPlan, translator: Translator) -> Iterator[str]:
    if plan.measured:
        yield translator.translate("plan.concurrency_measured", jobs=plan.concurrency)
    else:
        yield translator.translate("plan.concurrency_set", jobs=plan.concurrency)
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
    for bounds in plan.by_slo:
        yield {
            "slo": _slo_title(plan, bounds, translator),
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


def _slo_title(plan: TargetPlan, bounds: Bounds, translator: Translator) -> str:
    slo = plain(bounds.slo.seconds)
    if not bounds.kept:
        return translator.translate("plan.slo_not_kept", slo=slo)
    if bounds is plan.bounds:
        return translator.translate("plan.slo_planned", slo=slo)
    return translator.translate("plan.slo", slo=slo)


def _hours_and_price(worker_hours: float, price: float | None) -> dict[str, str]:
    cost = price_of(worker_hours, price)
    return {"worker_hours": f"{worker_hours:,.1f}", "price": "" if cost is None else f"{cost:,.2f}"}
