"""The output of `scaling status`, from a status view. Colours never replace a text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from scaler.commands.summary import conditions_text, late_by, summary
from service.catalogs import TRANSLATORS
from service.commands.columns import Column, Fitting, make_table
from service.i18n import Translator, of_locale
from service.units import count, duration, milliseconds, percent, printable

_COLOURS: Final = {
    "AtMax": "yellow",
    "MetricsStale": "red",
    "TargetNotFound": "red",
    "Forbidden": "red",
    "Contested": "red",
    "GraceTooShort": "yellow",
    "ConcurrencyMismatch": "yellow",
    "CrashLoop": "red",
    "PolicyInvalid": "red",
    "Overridden": "cyan",
    "Paused": "cyan",
    "Resting": "cyan",
    "Advising": "cyan",
    "Shadowing": "cyan",
}
_ACTIONS: Final = 5
_INDENT: Final = 2

_COLUMNS: Final[Mapping[str, Column]] = {
    "target": Column("table.target"),
    "queues": Column("table.queues"),
    "workers": Column("table.workers", number=True),
    "ready": Column("table.ready", number=True),
    "bounds": Column("table.bounds", number=True),
    "waiting": Column("table.waiting", number=True),
    "active": Column("table.active", number=True),
    "load": Column("table.load", number=True),
    "utilization": Column("table.utilization", number=True),
    "jobs_per_minute": Column("table.jobs_per_minute", number=True),
    "run_average": Column("table.run_average", number=True),
    "wait": Column("table.wait", number=True),
    "age": Column("table.age", number=True),
    "conditions": Column("table.conditions"),
    "last_decision": Column("table.last_decision"),
}
_LEAST_NEEDED: Final = (
    *("run_average", "utilization", "queues", "jobs_per_minute", "wait", "load"),
    *("bounds", "active", "age"),
)


def scaling_table(view: Mapping[str, Any]) -> RenderableType:
    """A row per target, the overrides in force, the last changes."""
    translator = TRANSLATORS[of_locale(os.environ)]
    if view["time"] is None:
        return Text(translator.translate("scaling.no_step"), "yellow")
    late = [Text(line, "red") for line in late_lines(view, translator)]
    held = [Hanging(Text(line, "red")) for line in _held(view, translator)]
    parts: list[RenderableType] = [*late, *held, *(Text(line, "yellow") for line in _state(view, translator))]
    if not view["targets"]:
        return Group(*parts, Text(translator.translate("scaling.no_targets")))
    parts += [_targets(view, translator), Text()]
    parts += [
        Hanging(Text(printable(f"{target['name']}: {warning}"), "yellow"))
        for target in view["targets"]
        for warning in target.get("warnings") or ()
    ]
    parts += [_override(target, translator) for target in view["targets"] if target["override"]]
    parts += [_action(action) for action in view["actions"][:_ACTIONS]]
    return Group(*parts)


def late_lines(view: Mapping[str, Any], translator: Translator) -> list[str]:
    """One line if the last step is long ago: nothing below it is as of now."""
    late = late_by(view)
    if late is None:
        return []
    due = duration(view["interval_seconds"])
    return [translator.translate("scaling.late", age=duration(late), interval=due)]


def _held(view: Mapping[str, Any], translator: Translator) -> list[str]:
    """Why no target is scaled, where orders cannot be read."""
    why = view.get("held")
    return [translator.translate("scaling.held", why=printable(why))] if why else []


def _state(view: Mapping[str, Any], translator: Translator) -> list[str]:
    lines = [] if view["enabled"] else [translator.translate("scaling.off")]
    lines += [translator.translate("scaling.dry_run")] if view["dry_run"] else []
    return lines + (
        [] if view["leading"] or view.get("held") else [translator.translate("scaling.not_leader")]
    )


class Hanging:
    """A text whose second line and those after it are indented."""

    def __init__(self, text: Text) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = self._text.wrap(console, max(1, options.max_width - _INDENT), no_wrap=False)
        for number, line in enumerate(lines):
            line.rstrip()
            yield Text(" " * _INDENT * (number > 0)) + line


def is_acting(view: Mapping[str, Any]) -> bool:
    """Whether the scaler applies its decisions."""
    return bool(view["enabled"] and view["leading"] and not view["dry_run"])


def _targets(view: Mapping[str, Any], translator: Translator) -> Fitting:
    """The table; where the last decisions do not fit into it, they are lines below."""
    rows = [_row(target, view, translator) for target in view["targets"]]
    below = Group(Text(), *(Hanging(Text(f"{row['target']}: {row['last_decision']}")) for row in rows))
    omitted = [("last_decision", *_LEAST_NEEDED[:number]) for number in range(len(_LEAST_NEEDED) + 1)]
    return Fitting(
        make_table(_COLUMNS, rows, translator),
        *((make_table(_COLUMNS, rows, translator, without=without), below) for without in omitted),
    )


def _row(target: Mapping[str, Any], view: Mapping[str, Any], translator: Translator) -> dict[str, Text]:
    metrics = target["metrics"]
    known = metrics["missing"] is None
    current, desired = target["current"], target["desired"]
    activity = target.get("activity") or {}
    return {
        "target": Text(printable(target["name"])),
        "queues": Text(printable(", ".join(target["queues"]))),
        "workers": Text(f"{_number(current)} -> {_number(desired)}", "bold" if current != desired else ""),
        "ready": Text(_number(target["ready"])),
        "bounds": Text(translator.translate("scaling.bounds", min=target["min"], max=target["max"]), "dim"),
        "waiting": Text(count(metrics["waiting"]) if known else "?"),
        "active": Text(count(metrics["active"]) if known else "?"),
        "load": Text("?" if target["load_factor"] is None else f"{target['load_factor']:.2f}"),
        "utilization": Text(percent(target.get("worker_utilization"))),
        "jobs_per_minute": Text(count(activity.get("jobs_per_minute"))),
        "run_average": Text(milliseconds(activity.get("processing_seconds"))),
        "wait": Text(milliseconds(target["wait_estimate_seconds"])),
        "age": Text(duration(metrics["age_seconds"]) if known else "?"),
        "conditions": _conditions(conditions_text(target, view["time"])),
        "last_decision": Text(summary(target, acting=is_acting(view), time=view["time"])),
    }


def _conditions(conditions: Sequence[str]) -> Text:
    text = Text()
    for index, condition in enumerate(conditions):
        text.append((", " if index else "") + condition, _COLOURS.get(condition.split()[0], ""))
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
