"""What `scaling status` prints, made of a status view. Colours say the state, and never say it alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.i18n import Words, of_locale, words
from service.units import count, milliseconds

_WIDE: Final = 240  # columns where nobody looks: a pipe should not break a row
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


def _say() -> Words:
    """Into the language of the environment."""
    return words(of_locale(os.environ))


def console() -> Console:
    """Standard output: plain when it is no terminal or NO_COLOR is set."""
    made = Console(markup=False, emoji=False, highlight=False, soft_wrap=False)
    if not made.is_terminal:
        made = Console(markup=False, emoji=False, highlight=False, width=_WIDE)
    return made


def scaling_table(view: Mapping[str, Any]) -> RenderableType:
    """A row a target, the orders in force, the last changes."""
    say = _say()
    if view["time"] is None:
        return Text(say("the first step is not done yet"), "yellow")
    parts: list[RenderableType] = [Text(say(line), "yellow") for line in _state(view)]
    if not view["targets"]:
        return Group(*parts, Text(say("no targets are set")))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, right in (
        ("target", False),
        ("queues", False),
        ("workers", True),
        ("ready", True),
        ("bounds", True),
        ("waiting", True),
        ("active", True),
        ("load", True),
        ("wait", True),
        ("conditions", False),
        ("last decision", False),
    ):
        table.add_column(
            say("ready (workers)" if name == "ready" else name).removesuffix(" (workers)"),
            justify="right" if right else "left",
            overflow="fold",
        )
    for target in view["targets"]:
        table.add_row(*_row(target))
    parts.append(table)
    parts += [_override(target) for target in view["targets"] if target["override"]]
    parts += [_action(action) for action in view["actions"][:_ACTIONS]]
    return Group(*parts)


def _state(view: Mapping[str, Any]) -> list[str]:
    lines = [] if view["enabled"] else ["scaling is switched off: nothing is changed"]
    lines += ["dry run: nothing is changed"] if view["dry_run"] else []
    return lines + ([] if view["leading"] else ["another scaler leads: this one changes nothing"])


def _row(target: Mapping[str, Any]) -> list[Text]:
    metrics = target["metrics"]
    known = metrics["missing"] is None
    current, desired = target["current"], target["desired"]
    change = f"{_number(current)} -> {_number(desired)}"
    return [
        Text(_printable(target["name"])),
        Text(_printable(", ".join(target["queues"]))),
        Text(change, "bold" if current != desired else ""),
        Text(_number(target["ready"])),
        Text(f"{target['min']} to {target['max']}", "dim"),
        Text(count(metrics["waiting"]) if known else "?"),
        Text(count(metrics["active"]) if known else "?"),
        Text("?" if target["load_factor"] is None else f"{target['load_factor']:.2f}"),
        Text(milliseconds(target["wait_estimate_seconds"])),
        _conditions(target["conditions"]),
        Text(f"{target['reason'] or 'none'}: {_printable(target['sentence'] or '')}"),
    ]


def _conditions(conditions: list[str]) -> Text:
    text = Text()
    for index, condition in enumerate(conditions):
        text.append((", " if index else "") + condition, _COLOURS.get(condition, ""))
    return text


def _override(target: Mapping[str, Any]) -> Text:
    override = target["override"]
    until = f" until {_time(override['until'])}" if override["until"] is not None else ""
    what = (
        f"{target['name']}: {override['workers']} workers{until}, by {override['by']}: {override['reason']}"
    )
    return Text(_printable(what), "cyan")


def _action(action: Mapping[str, Any]) -> Text:
    change = f"{action['target']} {action['old']} -> {action['new']} ({action['reason']})"
    return Text(f"{_time(action['at'])}  {_printable(change)}", "dim")


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _number(number: int | None) -> str:
    return "?" if number is None else str(number)


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)
