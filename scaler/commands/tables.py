"""The output of `scaling status`, from a status view. Colours never replace a text."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.catalogs import TRANSLATORS
from service.i18n import Translator, of_locale
from service.units import count, milliseconds, percent, printable

_COLOURS: Final = {
    "AtMax": "yellow",
    "MetricsStale": "red",
    "TargetNotFound": "red",
    "Forbidden": "red",
    "Contested": "red",
    "Overridden": "cyan",
    "Paused": "cyan",
}
_ACTIONS: Final = 5

_COLUMNS: Final = (
    ("table.target", False),
    ("table.queues", False),
    ("table.workers", True),
    ("table.ready", True),
    ("table.bounds", True),
    ("table.waiting", True),
    ("table.active", True),
    ("table.load", True),
    ("table.utilization", True),
    ("table.jobs_per_minute", True),
    ("table.run_average", True),
    ("table.wait", True),
    ("table.conditions", False),
    ("table.last_decision", False),
)
"""Titles as message ids, and whether the column has numbers."""


def scaling_table(view: Mapping[str, Any]) -> RenderableType:
    """A row per target, the overrides in force, the last changes."""
    translator = TRANSLATORS[of_locale(os.environ)]
    if view["time"] is None:
        return Text(translator.translate("scaling.no_step"), "yellow")
    parts: list[RenderableType] = [Text(line, "yellow") for line in _state(view, translator)]
    if not view["targets"]:
        return Group(*parts, Text(translator.translate("scaling.no_targets")))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, number in _COLUMNS:
        table.add_column(translator.translate(title), justify="right" if number else "left", overflow="fold")
    for target in view["targets"]:
        table.add_row(*_row(target, translator))
    parts.append(table)
    parts += [_override(target, translator) for target in view["targets"] if target["override"]]
    parts += [_action(action) for action in view["actions"][:_ACTIONS]]
    return Group(*parts)


def _state(view: Mapping[str, Any], translator: Translator) -> list[str]:
    lines = [] if view["enabled"] else [translator.translate("scaling.off")]
    lines += [translator.translate("scaling.dry_run")] if view["dry_run"] else []
    return lines + ([] if view["leading"] else [translator.translate("scaling.not_leader")])


def _row(target: Mapping[str, Any], translator: Translator) -> list[Text]:
    metrics = target["metrics"]
    known = metrics["missing"] is None
    current, desired = target["current"], target["desired"]
    change = f"{_number(current)} -> {_number(desired)}"
    activity = target.get("activity") or {}
    reason = target["reason"] or translator.translate("scaling.no_reason")
    return [
        Text(printable(target["name"])),
        Text(printable(", ".join(target["queues"]))),
        Text(change, "bold" if current != desired else ""),
        Text(_number(target["ready"])),
        Text(translator.translate("scaling.bounds", min=target["min"], max=target["max"]), "dim"),
        Text(count(metrics["waiting"]) if known else "?"),
        Text(count(metrics["active"]) if known else "?"),
        Text("?" if target["load_factor"] is None else f"{target['load_factor']:.2f}"),
        Text(percent(target.get("worker_utilization"))),
        Text(count(activity.get("jobs_per_minute"))),
        Text(milliseconds(activity.get("processing_seconds"))),
        Text(milliseconds(target["wait_estimate_seconds"])),
        _conditions(target["conditions"]),
        Text(f"{reason}: {printable(target['sentence'] or '')}"),
    ]


def _conditions(conditions: list[str]) -> Text:
    text = Text()
    for index, condition in enumerate(conditions):
        text.append((", " if index else "") + condition, _COLOURS.get(condition, ""))
    return text


def _override(target: Mapping[str, Any], translator: Translator) -> Text:
    override = target["override"]
    if override["until"] is None:
        line = translator.translate(
            "scaling.overridden",
            target=target["name"],
            count=override["workers"],
            author=override["by"],
            reason=override["reason"],
        )
    else:
        line = translator.translate(
            "scaling.overridden_until",
            target=target["name"],
            count=override["workers"],
            until=_time(override["until"]),
            author=override["by"],
            reason=override["reason"],
        )
    return Text(printable(line), "cyan")


def _action(action: Mapping[str, Any]) -> Text:
    change = f"{action['target']} {action['old']} -> {action['new']} ({action['reason']})"
    return Text(f"{_time(action['at'])}  {printable(change)}", "dim")


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _number(number: int | None) -> str:
    return "?" if number is None else str(number)
