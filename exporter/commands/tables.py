"""What the commands print, made of a status view. Colours say the band, and never say it alone."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from exporter.derived import waiting_jobs
from exporter.snapshot import Rates
from exporter.summaries import printable, queues_line, redis_line, source_line
from exporter.views import View, job_counts
from service.i18n import of_locale, words
from service.units import count, duration, milliseconds, percent, size

_COLOURS: Final = {"healthy": "green", "warning": "yellow", "critical": "red"}
_LONGEST_NAME: Final = 100  # BullMQ allows any; JSON has it whole
_WIDE: Final = 240  # columns where nobody looks: a pipe should not break a row


def _say(text: str) -> str:
    """In the language of the environment."""
    return words(of_locale(os.environ))(text)


def console() -> Console:
    """Standard output: plain when it is no terminal or NO_COLOR is set."""
    made = Console(markup=False, emoji=False, highlight=False, soft_wrap=False)
    if not made.is_terminal:
        made = Console(markup=False, emoji=False, highlight=False, width=_WIDE)
    return made


_SELDOM: Final = ("prioritized", "children", "completed", "longest")
_MEDIANS: Final = ("wait p50", "run p50")
_RATES: Final = ("done/min", "errors", "wait p95", "run p95", *_MEDIANS)


def status_table(view: View) -> RenderableType:
    """The whole in a few lines."""
    rows = _table_of(
        [
            {
                "source": source["name"],
                "state": _state(source["state"]),
                ">took": milliseconds(source["seconds"]),
                "what it says": source_line(view, source),
            }
            for source in view["sources"]
        ]
    )
    late = [task["name"] for task in view["background"] if not task["alive"]]
    up = view["uptime_seconds"]
    exporter = f"oxherd {view['version']}" + (f", up {duration(up)}" if up is not None else "")
    return Group(
        _score(view),
        *(_issue_line(issue) for issue in view["health"]["issues"]),
        Text(),
        rows,
        Text(),
        *([Text(f"late in the background: {', '.join(late)}", "yellow")] if late else []),
        Text(exporter, "dim"),
    )


def health_table(view: View) -> RenderableType:
    """The score and every issue, with what to do."""
    return Group(_score(view), *(_issue(issue) for issue in view["health"]["issues"]))


class Fitting:
    """The first of several tables that fits the width, else the last."""

    def __init__(self, *tables: Table) -> None:
        self._tables = tables

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbound = options.update(max_width=10_000)
        for table in self._tables[:-1]:
            if Measurement.get(console, unbound, table).maximum <= options.max_width:
                yield table
                return
        yield self._tables[-1]


def redis_table(view: View) -> RenderableType:
    """The deployment and its nodes."""
    state = view["redis"]
    if state is None:
        return _not_read(view, "redis")
    cells = [_node_cells(node) for node in state["nodes"]]
    rows = Fitting(_table_of(cells), _table_of(cells, without=("of max", "ops/s", "version")))
    return Group(
        Text(redis_line(state) + "\n"), rows, *_node_reasons(state["nodes"]), *_issues_of(view, "redis")
    )


def queues_table(view: View) -> RenderableType:
    """Every queue, those that could not be read included."""
    state = view["queues"]
    if state is None:
        return _not_read(view, "bullmq")
    prefixes = {queue["prefix"] for queue in (*state["queues"], *state["unread"])}
    cells = [_queue_cells(queue, prefixed=len(prefixes) > 1) for queue in state["queues"]]
    rows = Fitting(
        _table_of(cells),
        _table_of(cells, without=_MEDIANS),
        _table_of(cells, without=(*_MEDIANS, *_SELDOM)),
        _table_of(cells, without=_RATES),
        _table_of(cells, without=(*_RATES, *_SELDOM)),
    )
    unread = [
        Text(f"not read: {printable(one['prefix'])}:{printable(one['name'])}: {printable(one['why'])}", "red")
        for one in state["unread"]
    ]
    problems = [Text(printable(problem), "yellow") for problem in state["problems"]]
    body = [rows] if state["queues"] else []
    return Group(Text(queues_line(state) + "\n"), *body, *unread, *problems, *_issues_of(view, "bullmq"))


def _table_of(rows: Sequence[Mapping[str, RenderableType]], *, without: Container[str] = ()) -> Table:
    """A table of rows that name their cells; a name that begins with > is a number's."""
    names = [name for name in (rows[0] if rows else ()) if name.lstrip(">") not in without]
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold"
    )
    for number, name in enumerate(names):
        table.add_column(
            _say(name.lstrip(">")),
            justify="right" if name.startswith(">") else "left",
            # What may wrap gives way first: a number must never be cut.
            no_wrap=0 < number < len(names) - 1 or name.startswith(">"),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(row[name] for name in names))
    return table


def _node_cells(node: View) -> dict[str, RenderableType]:
    return {
        "node": printable(node["address"]),
        "role": node["role"],
        "shard": printable(node["shard"]),
        "state": _node_state(node),
        ">memory": size(node["memory_used_bytes"]),
        ">of max": _of_max(node),
        ">clients": count(node["connected_clients"]),
        ">ops/s": count(node["operations_per_second"]),
        ">hits": percent(node["hit_ratio"]),
        ">lag": size(node["replication_lag_bytes"]),
        "version": printable(node["version"] or ""),
    }


def _queue_cells(queue: View, *, prefixed: bool) -> dict[str, RenderableType]:
    name = printable(f"{queue['prefix']}:{queue['name']}" if prefixed else queue["name"])
    label = Text(name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "...")
    if queue["paused"]:
        label.append(f" ({_say('paused')})", "yellow")
    return {
        "queue": label,
        ">waiting": _number(waiting_jobs(job_counts(queue))),
        ">active": _number(queue["active"]),
        ">delayed": _number(queue["delayed"]),
        ">prioritized": _number(queue["prioritized"]),
        ">children": _number(queue["waiting_children"]),
        ">completed": _number(queue["completed"]),
        ">failed": _number(queue["failed"], "red" if queue["failed"] else ""),
        ">workers": _workers(queue),
        ">oldest": duration(queue["oldest_waiting"]),
        ">longest": duration(queue["longest_active"]),
        ">load": percent(queue["load_factor"]),
        **_rate_cells(queue["rates"]),
    }


def _rate_cells(rates: View | None) -> dict[str, RenderableType]:
    """Of the last minutes; empty where the events are not followed, or not for long enough."""
    told = rates or dict.fromkeys(Rates._fields)
    return {
        ">done/min": count(told["completed_per_minute"]),
        ">errors": percent(told["error_rate"]),
        ">wait p50": milliseconds(told["wait_p50"]),
        ">wait p95": milliseconds(told["wait_p95"]),
        ">run p50": milliseconds(told["processing_p50"]),
        ">run p95": milliseconds(told["processing_p95"]),
    }


def _score(view: View) -> Text:
    told = view["health"]
    text = Text(f"{told['score']:g} {_say(told['status'])}", f"bold {_COLOURS[told['status']]}")
    number = len(told["issues"])
    return text.append(
        f"  {number} {_say('issues' if number > 1 else 'issue')}" if number else f"  {_say('no issues')}",
        "not bold default",
    )


def _issue(issue: View) -> RenderableType:
    lines = Text(printable(_say(issue["title"])), "bold")
    lines.append(f"  -{issue['penalty']:g}", f"not bold {_severity(issue)}")
    lines.append(
        f"\n{printable(issue['measured'])}, {_say('threshold')} {printable(issue['threshold'])}",
        "not bold dim",
    )
    lines.append(f"\n{printable(_say(issue['recommendation']))}", "not bold")
    return Padding(lines, (1, 0, 0, 2), expand=False)


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
    stalled = queue["workers"] == 0 and waiting_jobs(job_counts(queue)) > 0
    return _number(queue["workers"], "yellow" if stalled else "")


def _number(number: float, style: str = "") -> Text:
    return Text(count(number), style or ("dim" if not number else ""))
