"""`scaling explain`: the figures behind the last decision of a target, from a status view."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import ceil
from typing import Any, Final

import click
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scaler.views import NAME
from service.commands.console import make_console
from service.units import plain, printable
from service.web.status_client import check_url, fetch_status

_SECONDS: Final = 10.0

_NEEDS: Final = (
    ("queue", "jobs that wait and come, until new workers help"),
    ("load", "what comes, by Little's law, and its scatter"),
    ("due", "delayed jobs of the next minute, as if they waited"),
    ("kept", "what was asked for and still starts, while jobs wait"),
)


class NoTargetError(Exception):
    """No target of the scaler has this name or serves this queue; the text says which there are."""


def show_explanation(url: str, key: str | None, name: str, *, as_json: bool) -> None:
    """Print it. Raises StatusError and NoTargetError."""
    view = fetch_status(check_url(url, "scaler"), "scaler", NAME, seconds=_SECONDS, headers={}, key=key)
    target = find_target_view(view, name)
    if as_json:
        click.echo(json.dumps(target, ensure_ascii=False))
    else:
        make_console().print(explanation(target))


def find_target_view(view: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The target of this name, else the one that serves the queue of this name. Raises NoTargetError."""
    targets: list[Mapping[str, Any]] = view["targets"]
    named = [target for target in targets if target["name"] == name]
    serving = [target for target in targets if name in target["queues"]]
    if not (named or serving):
        known = ", ".join(target["name"] for target in targets) or "none"
        raise NoTargetError(f"there is no target or queue {name[:100]!r}; targets: {known}")
    return (named or serving)[0]


def explanation(target: Mapping[str, Any]) -> RenderableType:
    """What went into the decision, the needs, which of them won, and what the guards changed."""
    inputs: Mapping[str, float] = target["inputs"]
    parts: list[RenderableType] = [Text(line) for line in _situation(target, inputs)]
    if "queue_slots" in inputs:
        parts += [Text(), _needs(target, inputs), Text()]
    reason = target["reason"] or "no decision yet"
    parts.append(Text(f"{reason}: {printable(target['sentence'] or '')}", "bold"))
    return Group(*parts)


def _situation(target: Mapping[str, Any], inputs: Mapping[str, float]) -> list[str]:
    current, desired = _number(target["current"]), _number(target["desired"])
    workers = "worker" if current == "1" else "workers"
    head = f"{target['name']}: {current} {workers} requested, {desired} decided"
    lines = [printable(f"{head} ({target['min']} to {target['max']}), policy {target['policy']}")]
    if "rate" not in inputs:
        return [*lines, *(f"  {name} {value:g}" for name, value in inputs.items())]
    waiting, active, due = (f"{inputs[name]:.0f}" for name in ("waiting", "active", "due"))
    wait = f"{waiting} wait, {active} run, {due} more are due within 60 s"
    lines.append(f"  {wait}; the oldest waits {inputs['oldest_seconds']:.0f} of {inputs['slo_seconds']:g} s")
    rates = f"{plain(inputs['level'])} jobs/s come"
    if inputs["rate"] > inputs["level"]:
        rates += f", {plain(inputs['rate'])} by the last sample"
    slots = f"a worker has {inputs['concurrency']:.3g} slots"
    lines.append(f"  {rates}; each runs {plain(inputs['service_seconds'])} s; {slots}")
    lines.append(
        f"  workers start in {inputs['start_seconds']:.0f} s; those of this decision help in "
        f"{inputs['horizon_seconds']:.0f} s"
    )
    if target["wait_estimate_seconds"] is not None:
        lines.append(f"  a job that comes now is expected to wait {target['wait_estimate_seconds']:.1f} s")
    return lines


def _needs(target: Mapping[str, Any], inputs: Mapping[str, float]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("need")
    table.add_column("slots", justify="right")
    table.add_column("workers", justify="right")
    table.add_column("for")
    most = max(inputs[f"{name}_slots"] for name, _ in _NEEDS)
    for name, meaning in _NEEDS:
        slots = inputs[f"{name}_slots"]
        won = slots == most > 0
        workers = max(0, ceil(slots / inputs["concurrency"] - 0.1))
        label = f"{name} <- most" if won else name
        table.add_row(label, f"{slots:.1f}", str(workers), meaning, style="bold" if won else "")
    if "cap_slots" in inputs:
        table.add_row(
            "cap", f"{inputs['cap_slots']:.1f}", "", "jobs wait beside free slots: a limit or a pause"
        )
    if "held_seconds" in inputs:
        text = f"workers are held for {inputs['held_seconds']:.0f} s more, the cost of a start"
        table.add_row("hold", "", _number(target["desired"]), text)
    return table


def _number(number: int | None) -> str:
    return "?" if number is None else str(number)
