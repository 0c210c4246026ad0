"""What the commands print, made of a status view. Colours say the band, and never say it alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from exporter.lines import printable, queues_line, redis_line, source_line
from exporter.units import count, duration, milliseconds, percent, size
from exporter.views import View

_COLOURS: Final = {"healthy": "green", "warning": "yellow", "critical": "red"}
_STATES: Final = ("waiting", "active", "delayed", "prioritized", "waiting_children", "completed", "failed")
_WIDE: Final = 240  # columns where nobody looks: a pipe should not break a row


def console() -> Console:
    """Standard output: plain when it is no terminal or NO_COLOR is set."""
    made = Console(markup=False, emoji=False, highlight=False, soft_wrap=False)
    if not made.is_terminal:
        made = Console(markup=False, emoji=False, highlight=False, width=_WIDE)
    return made


def status(view: View) -> RenderableType:
    """The whole in a few lines."""
    rows = _table("source", "state", ">took", "what it says")
    for source in view["sources"]:
        rows.add_row(
            source["name"],
            _state(source["state"]),
            milliseconds(source["seconds"]),
            source_line(view, source),
        )
    late = [task["name"] for task in view["background"] if not task["alive"]]
    up = view["uptime_seconds"]
    exporter = f"oxherd {view['version']}" + (f", up {duration(up)}" if up is not None else "")
    return Group(
        _score(view),
        *(_issue_line(issue) for issue in view["health"]["issues"]),
        rows,
        *([Text(f"late in the background: {', '.join(late)}", "yellow")] if late else []),
        Text(exporter, "dim"),
    )


def health(view: View) -> RenderableType:
    """The score and every issue, with what to do."""
    return Group(_score(view), *(_issue(issue) for issue in view["health"]["issues"]))


def redis(view: View) -> RenderableType:
    """The deployment and its nodes."""
    state = view["redis"]
    if state is None:
        return _not_read(view, "redis")
    rows = _table(
        "node",
        "role",
        "shard",
        "state",
        ">memory",
        ">of max",
        ">clients",
        ">ops/s",
        ">hits",
        ">lag",
        "version",
    )
    for node in state["nodes"]:
        rows.add_row(
            printable(node["address"]),
            node["role"],
            printable(node["shard"]),
            _node_state(node),
            size(node["memory_used_bytes"]),
            _of_max(node),
            count(node["connected_clients"]),
            count(node["operations_per_second"]),
            percent(node["hit_ratio"]),
            size(node["replication_lag_bytes"]),
            printable(node["version"] or ""),
        )
    return Group(Text(redis_line(state)), rows, *_node_reasons(state["nodes"]), *_issues_of(view, "redis"))


def queues(view: View) -> RenderableType:
    """Every queue, those that could not be read included."""
    state = view["queues"]
    if state is None:
        return _not_read(view, "bullmq")
    prefixes = {queue["prefix"] for queue in (*state["queues"], *state["unread"])}
    rows = _table(
        "queue",
        *(f">{name.replace('waiting_children', 'children')}" for name in _STATES),
        ">workers",
        ">oldest",
        ">longest",
        ">load",
    )
    for queue in state["queues"]:
        name = f"{queue['prefix']}:{queue['name']}" if len(prefixes) > 1 else queue["name"]
        label = Text(printable(name))
        if queue["paused"]:
            label.append(" (paused)", "yellow")
        rows.add_row(
            label,
            *(
                _number(queue[state], "red" if state == "failed" and queue[state] else "")
                for state in _STATES
            ),
            _workers(queue),
            duration(queue["oldest_waiting"]),
            duration(queue["longest_active"]),
            percent(queue["load_factor"]),
        )
    unread = [
        Text(f"not read: {printable(one['prefix'])}:{printable(one['name'])}: {printable(one['why'])}", "red")
        for one in state["unread"]
    ]
    problems = [Text(printable(problem), "yellow") for problem in state["problems"]]
    body = [rows] if state["queues"] else []
    return Group(Text(queues_line(state)), *body, *unread, *problems, *_issues_of(view, "bullmq"))


def _table(*columns: str) -> Table:
    """Columns whose name begins with > are numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1))
    for column in columns:
        right = column.startswith(">")
        table.add_column(
            column.lstrip(">"), justify="right" if right else "left", overflow="fold", no_wrap=right
        )
    return table


def _score(view: View) -> Text:
    told = view["health"]
    text = Text(f"{told['score']:g} {told['status']}", f"bold {_COLOURS[told['status']]}")
    number = len(told["issues"])
    return text.append(
        f"  {number} issue{'s' if number > 1 else ''}" if number else "  no issues", "not bold default"
    )


def _issue(issue: View) -> RenderableType:
    lines = Text(printable(issue["title"]), "bold")
    lines.append(f"  -{issue['penalty']:g}", f"not bold {_severity(issue)}")
    lines.append(
        f"\n{printable(issue['measured'])}, threshold {printable(issue['threshold'])}", "not bold dim"
    )
    lines.append(f"\n{printable(issue['recommendation'])}", "not bold")
    return Padding(lines, (1, 0, 0, 2))


def _issue_line(issue: View) -> Text:
    line = Text(f"  -{issue['penalty']:g}", _severity(issue))
    return line.append(f"  {printable(issue['title'])}: {printable(issue['measured'])}", "default")


def _issues_of(view: View, source: str) -> list[RenderableType]:
    return [_issue(issue) for issue in view["health"]["issues"] if issue["source"] == source]


def _severity(issue: View) -> str:
    return "red" if issue["penalty"] >= 20 else "yellow"


def _state(state: str) -> Text:
    return Text(state, {"ok": "green", "partial": "yellow", "failed": "red"}.get(state, "dim"))


def _not_read(view: View, source: str) -> RenderableType:
    why = next((one["why"] for one in view["sources"] if one["name"] == source), "not collected")
    return Group(Text(f"{source} was not read: {printable(why)}", "red"), *_issues_of(view, source))


def _node_state(node: View) -> Text:
    if not node["up"]:
        return Text("down", "red")
    return Text("up", "green") if node["healthy"] else Text("unhealthy", "yellow")


def _node_reasons(nodes: Iterable[View]) -> list[RenderableType]:
    ill = [node for node in nodes if node["why"]]
    return [Text(f"{printable(node['address'])}: {printable(node['why'])}", "red") for node in ill]


def _of_max(node: View) -> Text:
    used, most = node["memory_used_bytes"], node["memory_max_bytes"]
    if used is None or most is None:
        return Text()
    return Text(percent(used / most)) if most else Text("no limit", "dim")


def _workers(queue: View) -> Text:
    if queue["workers"] is None:
        return Text("?", "dim")
    stalled = queue["workers"] == 0 and (queue["waiting"] or queue["prioritized"])
    return _number(queue["workers"], "yellow" if stalled else "")


def _number(number: float, style: str = "") -> Text:
    return Text(count(number), style or ("dim" if not number else ""))
