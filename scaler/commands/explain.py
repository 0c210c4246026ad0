"""`scaling explain`: the figures behind the last decision of a target, from a status view."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scaler.commands.outlook import outlook
from scaler.commands.status import not_shown
from scaler.commands.summary import conditions_text, summary
from scaler.commands.tables import Hanging, is_acting, late_lines
from scaler.decision.policies.sentences import stalled_text
from scaler.serving import targets_meant
from scaler.views import NAME
from service.catalogs import ENGLISH
from service.commands.console import make_console, print_json, shown_or
from service.units import plain, printable
from service.web.status_client import check_url, fetch_status

_SECONDS: Final = 10.0
_PREFIX: Final = "bull"  # BullMQ's own

_NEEDS: Final = (
    ("queue", "jobs that wait and come until new workers help"),
    ("load", "what comes, by Little's law, and its scatter"),
    ("due", "delayed jobs of the next minute, as if waiting"),
    ("kept", "workers that still start, while jobs wait"),
)


class NoTargetError(Exception):
    """No target of the scaler has this name or serves this queue; the text says which there are."""


def show_explanation(url: str, key: str | None, name: str, *, as_json: bool) -> None:
    """Print it. Raises StatusError and NoTargetError."""
    view = fetch_status(check_url(url, "scaler"), "scaler", NAME, seconds=_SECONDS, headers={}, key=key)
    with shown_or(not_shown(view)):
        target = find_target_view(view, name)
        if as_json:
            print_json(target)
        else:
            make_console().print(explanation(view, target))


def find_target_view(view: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The target that `scaling manual` finds by this name: of a target or a queue. Raises NoTargetError."""
    meant = targets_meant([_Shown(target) for target in view["targets"]], name)
    if not meant:
        known = ", ".join(target["name"] for target in view["targets"]) or "none"
        raise NoTargetError(f"there is no target or queue {name[:100]!r}; targets: {known}")
    if len(meant) > 1:
        names = ", ".join(shown.name for shown in meant)
        raise NoTargetError(f"{name} is served by {names}: name one of them")
    return meant[0].target


class _Shown:
    """A target of a view, as it is looked up; an earlier version shows only the queues that it found."""

    def __init__(self, target: Mapping[str, Any]) -> None:
        self.target: Final = target
        self.name: Final[str] = target["name"]
        self.prefix: Final[str] = target.get("prefix") or _PREFIX
        self.queues: Final[list[str]] = target.get("configured_queues") or target["queues"]


def explanation(view: Mapping[str, Any], target: Mapping[str, Any]) -> RenderableType:
    """The decision in one sentence, what went into it, the needs and which of them won, what the guards
    changed, and what would change it."""
    inputs: Mapping[str, float] = target["inputs"]
    said = summary(target, acting=is_acting(view), time=view["time"])
    late = late_lines(view, ENGLISH)
    parts: list[RenderableType] = [Hanging(Text(line, "red")) for line in late]
    parts.append(Hanging(Text(printable(f"{target['name']}: {said}"), "bold")))
    parts += [Hanging(Text(line)) for line in _situation(target, inputs)]
    parts += [Hanging(Text(f"  {line}")) for line in _state(target, view["time"])]
    if "queue_slots" in inputs:
        parts += [Text(), _needs(target, inputs)]
    parts += [Text(), Text("guards", "bold"), *(_item(line) for line in _guards(target))]
    changes = outlook(target, view["time"])
    return Group(*parts, Text(), Text("what would change it", "bold"), *(_item(line) for line in changes))


def _item(line: str) -> Hanging:
    return Hanging(Text(printable(f"- {line}")))


def _state(target: Mapping[str, Any], time: float) -> list[str]:
    """The age of the figures, the conditions with their times, the warnings."""
    metrics = target["metrics"]
    if metrics["missing"] is None:
        age = f"figures are {metrics['age_seconds']:.1f} s old"
    else:
        age = f"no figures: {metrics['why']}"
    names = ", ".join(conditions_text(target, time)) or "none"
    return [f"{age}; conditions: {names}", *target.get("warnings", ())]


def _guards(target: Mapping[str, Any]) -> list[str]:
    """What each stage said, in their order, and the bounds."""
    bounds = f"bounds: {target['min']} to {target['max']} workers"
    steps = [
        f"at most {target['settings'][key]} {word} in one step"
        for key, word in (("max_step_up", "more"), ("max_step_down", "fewer"))
        if target["settings"][key] is not None
    ]
    unchanged = [] if target["notes"] else ["none changed the number"]
    return [*target["notes"], *unchanged, ", ".join([bounds, *steps])]


def _situation(target: Mapping[str, Any], inputs: Mapping[str, float]) -> list[str]:
    numbers = [f"{_number(target[key])} {key}" for key in ("current", "ready", "desired", "recommended")]
    lines = [f"  workers: {', '.join(numbers)}; policy {target['policy']}"]
    if "rate" not in inputs:
        return lines + (
            [f"  {', '.join(f'{name} {value:g}' for name, value in inputs.items())}"] if inputs else []
        )
    waiting, active, due = (f"{inputs[name]:.0f}" for name in ("waiting", "active", "due"))
    runs = f"{active} run, {stalled_text(inputs['stalled'])}" if "stalled" in inputs else f"{active} run"
    wait = f"{waiting} wait, {runs}, {due} more are due within 60 s"
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
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold"
    )
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
            "cap", f"{inputs['cap_slots']:.1f}", "", "jobs wait beside free slots: a limit or pause"
        )
    if "held_seconds" in inputs:
        text = f"held for {inputs['held_seconds']:.0f} s more, the cost of a start"
        table.add_row("hold", "", _number(target["desired"]), text)
    return table


def _number(number: int | None) -> str:
    return "?" if number is None else str(number)
