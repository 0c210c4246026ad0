"""The output of the commands, from a status view. A colour never replaces a text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from exporter.derived import waiting_jobs
from exporter.jobs.lines import failed_reason_lines
from exporter.snapshot.queues import RATES
from exporter.summaries import (
    COLUMN_CONDITIONS,
    ENDPOINT_STATES,
    NODE_FIGURES,
    NODE_STATES,
    SOURCE_STATES,
    STATUSES,
    cell_level,
    empty_figures,
    endpoint_state,
    has_several_prefixes,
    host_rows,
    issue_count,
    node_state,
    not_known_line,
    pause_mark,
    queue_conditions,
    queues_line,
    redis_line,
    scheduler_lines,
    search_lines,
    shard_line,
    source_line,
)
from exporter.views import View, issue_text, job_counts
from service.catalogs import TRANSLATORS
from service.commands.columns import Cell, Column, Fitting, make_table
from service.i18n import Translator, of_locale
from service.units import count, duration, milliseconds, percent, printable, size

_LEVEL_STYLES: Final = {"": "", "warning": "yellow", "critical": "red"}
_COLOURS: Final = {"healthy": "green", "warning": "yellow", "critical": "red"}
_LONGEST_NAME: Final = 100  # characters; BullMQ has no limit; --json prints the whole name
_DOUBTS: Final = 10  # lines on workers that are not known


_SOURCE_COLUMNS: Final[Mapping[str, Column]] = {
    "source": Column("table.source"),
    "state": Column("table.state"),
    "took": Column("table.took", number=True),
    "result": Column("table.result"),
}
_NODE_COLUMNS: Final[Mapping[str, Column]] = {
    "node": Column("table.node"),
    "role": Column("table.role"),
    "shard": Column("table.shard"),
    "state": Column("table.state"),
    "memory": Column("table.memory", number=True),
    "of_max": Column("table.of_max", number=True),
    "clients": Column("table.clients", number=True),
    "operations": Column("table.operations", number=True),
    "hits": Column("table.hits", number=True),
    "lag": Column("table.lag", number=True),
    "version": Column("table.version"),
}
_QUEUE_COLUMNS: Final[Mapping[str, Column]] = {
    "queue": Column("table.queue"),
    "waiting": Column("table.waiting", number=True),
    "active": Column("table.active", number=True),
    "delayed": Column("table.delayed", number=True),
    "prioritized": Column("table.prioritized", number=True),
    "children": Column("table.children", number=True),
    "completed": Column("table.completed", number=True),
    "failed": Column("table.failed", number=True),
    "workers": Column("table.workers", number=True),
    "oldest": Column("table.oldest", number=True),
    "longest": Column("table.longest", number=True),
    "load": Column("table.load", number=True),
    "utilization": Column("table.utilization", number=True),
    "done": Column("table.done", number=True),
    "errors": Column("table.errors", number=True),
    "wait_average": Column("table.wait_average", number=True),
    "wait_p50": Column("table.wait_p50", number=True),
    "wait_p95": Column("table.wait_p95", number=True),
    "run_average": Column("table.run_average", number=True),
    "run_p50": Column("table.run_p50", number=True),
    "run_p95": Column("table.run_p95", number=True),
}

_SECONDARY: Final = ("prioritized", "children", "completed", "longest")
_MEDIANS: Final = ("wait_p50", "run_p50")
_AVERAGES: Final = ("utilization", "wait_average", "run_average")
_RATES: Final = ("done", "errors", "wait_p95", "run_p95", *_MEDIANS, *_AVERAGES)


def environment_translator() -> Translator:
    """The translator into the language of the environment."""
    return TRANSLATORS[of_locale(os.environ)]


def status_table(view: View) -> RenderableType:
    """The score, the issues and the sources, one line each."""
    translator = environment_translator()
    rows: list[dict[str, Cell]] = [
        {
            "source": source["name"],
            "state": _source_state(source["state"], translator),
            "took": milliseconds(source["seconds"]),
            "result": source_line(view, source, translator),
        }
        for source in view["sources"]
    ]
    late = [task["name"] for task in view["background"] if not task["alive"]]
    uptime = view["uptime_seconds"]
    exporter = f"oxherd {view['version']}"
    if uptime is not None:
        exporter += f", {translator.translate('exporter.up', uptime=duration(uptime))}"
    late_line = translator.translate("table.late", threads=", ".join(late))
    return Group(
        *_shard(view, translator),
        *_score(view, translator),
        *(_issue_line(issue, translator) for issue in view["health"]["issues"]),
        Text(),
        make_table(_SOURCE_COLUMNS, rows, translator),
        Text(),
        *_host(view["host"], translator),
        *_probes(view["probes"], translator),
        *([Text(late_line, "yellow")] if late else []),
        Text(exporter, "dim"),
    )


_HOST_COLUMNS: Final[Mapping[str, Column]] = {
    "name": Column("table.host"),
    "figures": Column("table.figures"),
}


def _host(host: View | None, translator: Translator) -> list[RenderableType]:
    if host is None:
        return []
    rows = [{"name": name, "figures": text} for name, text in host_rows(host, translator)]
    return [make_table(_HOST_COLUMNS, rows, translator), Text()]


_PROBE_COLUMNS: Final[Mapping[str, Column]] = {
    "name": Column("table.endpoint"),
    "state": Column("table.state"),
    "response": Column("table.response", number=True),
    "errors": Column("table.errors", number=True),
    "why": Column("table.result"),
}
_ENDPOINT_COLOURS: Final = {"ok": "green", "failing": "red", "not_checked": "dim"}


def _probes(probes: list[View] | None, translator: Translator) -> list[RenderableType]:
    rows: list[dict[str, Cell]] = [
        {
            "name": printable(probe["name"]),
            "state": Text(translator.translate(ENDPOINT_STATES[state]), _ENDPOINT_COLOURS[state]),
            "response": milliseconds(probe.get("seconds")),
            "errors": percent(probe.get("error_rate")),
            "why": printable(probe.get("why") or ""),
        }
        for probe, state in ((probe, endpoint_state(probe)) for probe in probes or ())
    ]
    return [make_table(_PROBE_COLUMNS, rows, translator), Text()] if rows else []


def health_table(view: View) -> RenderableType:
    """The score, and every issue with its recommendation."""
    translator = environment_translator()
    issues = (_issue(issue, translator) for issue in view["health"]["issues"])
    return Group(*_shard(view, translator), *_score(view, translator), *issues)


def _shard(view: View, translator: Translator) -> list[Text]:
    """Before figures that are those of a part of the queues."""
    line, shard = shard_line(view, translator), view.get("shard") or {}
    return [Text(line, "red" if shard.get("missing") else "dim")] if line else []


def redis_table(view: View) -> RenderableType:
    """The deployment and its nodes."""
    translator, state = environment_translator(), view["redis"]
    if state is None:
        return _not_read(view, "redis", translator)
    rows = [_node_cells(node, translator) for node in state["nodes"]]
    empty = () if any(node["shard"] for node in state["nodes"]) else ("shard",)
    if not any(node["replication_lag_bytes"] is not None for node in state["nodes"]):
        empty = (*empty, "lag")
    nodes = Fitting(
        *(
            make_table(_NODE_COLUMNS, rows, translator, without=(*empty, *without))
            for without in ((), ("version",), ("of_max", "version"), ("of_max", "operations", "version"))
        )
    )
    return Group(
        Text(redis_line(state, translator) + "\n"),
        nodes,
        Text(),
        _performance(state["nodes"], translator),
        *_node_reasons(state["nodes"]),
        *_issues_of(view, "redis", translator),
    )


def queues_table(view: View) -> RenderableType:
    """Every queue, including those that could not be read."""
    translator, state = environment_translator(), view["queues"]
    if state is None:
        return _not_read(view, "bullmq", translator)
    prefixed = has_several_prefixes(state)
    conditions = queue_conditions(view["health"])
    rows = [
        _queue_cells(
            queue, translator, conditions.get((queue["prefix"], queue["name"]), {}), prefixed=prefixed
        )
        for queue in state["queues"]
    ]
    whole = make_table(_QUEUE_COLUMNS, rows, translator)
    queues = Fitting(
        *(
            whole.without(without)
            for without in (
                (),
                _MEDIANS,
                (*_MEDIANS, *_SECONDARY),
                (*_MEDIANS, *_SECONDARY, *_AVERAGES),
                _RATES,
                (*_RATES, *_SECONDARY),
            )
        )
    )
    unread = [_unread(queue, translator) for queue in state["unread"]]
    problems = [Text(printable(problem), "yellow") for problem in state["problems"]]
    doubts = [
        _doubt(queue, translator, prefixed=prefixed)
        for queue in state["queues"]
        if queue.get("workers_unknown")
    ]
    return Group(
        *_shard(view, translator),
        Text(queues_line(state, translator) + "\n"),
        *([queues] if state["queues"] else []),
        *unread,
        *doubts[:_DOUBTS],
        *(Text(line, "yellow") for line in scheduler_lines(view, translator)),
        *(Text(line) for line in failed_reason_lines(view, translator, prefixed=prefixed)),
        *problems,
        *(Text(line, "dim") for line in search_lines(state, translator)),
        *_issues_of(view, "bullmq", translator),
    )


_PERFORMANCE_COLUMNS: Final[Mapping[str, Column]] = {
    "node": Column("table.node"),
    **{name: Column(figure.title, number=True) for name, figure in NODE_FIGURES.items()},
}
_LEAST_NEEDED: Final = ("uptime", "slots", "expired", "rss", "output", "links")


def _performance(nodes: Sequence[View], translator: Translator) -> RenderableType:
    """The second table of the nodes: without what is least needed where the terminal is narrow."""
    rows: list[dict[str, Cell]] = [
        {
            "node": printable(node["address"]),
            **{name: figure.text(node) for name, figure in NODE_FIGURES.items()},
        }
        for node in nodes
    ]
    empty = empty_figures(nodes)
    return Fitting(
        *(
            make_table(_PERFORMANCE_COLUMNS, rows, translator, without=(*empty, *_LEAST_NEEDED[:left_out]))
            for left_out in range(len(_LEAST_NEEDED) + 1)
        )
    )


def _node_cells(node: View, translator: Translator) -> dict[str, Cell]:
    return {
        "node": printable(node["address"]),
        "role": node["role"],
        "shard": printable(node["shard"]),
        "state": _node_state(node, translator),
        "memory": size(node["memory_used_bytes"]),
        "of_max": _of_max(node, translator),
        "clients": count(node["connected_clients"]),
        "operations": count(node["operations_per_second"]),
        "hits": percent(node["hit_ratio"]),
        "lag": size(node["replication_lag_bytes"]),
        "version": printable(node["version"] or ""),
    }


def _queue_cells(
    queue: View, translator: Translator, conditions: Mapping[str, str], *, prefixed: bool
) -> dict[str, Cell]:
    styles = {column: _LEVEL_STYLES[cell_level(conditions, column)] for column in COLUMN_CONDITIONS}
    name = _queue_name(queue, prefixed=prefixed)
    label = Text(name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "...")
    if queue["library"] == "bull":
        label.append(" (Bull)", "dim")
    if mark := pause_mark(queue):
        label.append(f" ({translator.translate(mark)})", styles["paused"] or "dim")
    if queue["odd"]:
        label.append(f" ({translator.translate('queue.partly_read')})", "yellow")
    return {
        "queue": label,
        "waiting": _number(waiting_jobs(job_counts(queue))),
        "active": _number(queue["active"]),
        "delayed": _number(queue["delayed"], styles["delayed"]),
        "prioritized": _number(queue["prioritized"]),
        "children": _number(queue["waiting_children"], styles["waiting_children"]),
        "completed": _number(queue["completed"]),
        "failed": _number(queue["failed"], styles["failed"]),
        "workers": _number(queue["workers"], styles["workers"]),
        "oldest": Text(duration(queue["oldest_waiting"]), styles["oldest"]),
        "longest": Text(duration(queue["longest_active"]), styles["longest"]),
        "load": percent(queue["load_factor"]),
        "utilization": percent(queue["worker_utilization"]),
        **_rate_cells(queue["rates"], styles["errors"]),
    }


def _rate_cells(rates: View | None, errors: str) -> dict[str, Cell]:
    """The rates of the last minutes; empty if the events are not followed, or not for long enough."""
    known = rates or dict.fromkeys(RATES)
    return {
        "done": count(known["completed_per_minute"]),
        "errors": Text(percent(known["error_rate"]), errors),
        "wait_average": milliseconds(known["wait_average"]),
        "run_average": milliseconds(known["processing_average"]),
        "wait_p50": milliseconds(known["wait_p50"]),
        "wait_p95": milliseconds(known["wait_p95"]),
        "run_p50": milliseconds(known["processing_p50"]),
        "run_p95": milliseconds(known["processing_p95"]),
    }


def _score(view: View, translator: Translator) -> list[Text]:
    """With what is not known yet: without it, no issue would look like health."""
    health = view["health"]
    status = health["status"]
    text = Text(f"{health['score']:g} {translator.translate(STATUSES[status])}", f"bold {_COLOURS[status]}")
    text.append(f"  {issue_count(health, translator)}", "not bold default")
    line = not_known_line(health, translator)
    return [text, Text(line, "dim")] if line else [text]


def _issue(issue: View, translator: Translator) -> RenderableType:
    def text(field: str) -> str:
        return printable(issue_text(issue, field, translator))

    threshold = translator.translate("issues.threshold", threshold=text("threshold"))
    lines = Text(text("title"), "bold")
    lines.append(f"  -{issue['penalty']:g}", f"not bold {_severity(issue)}")
    lines.append(f"\n{text('measured')}, {threshold}", "not bold dim")
    lines.append(f"\n{text('recommendation')}", "not bold")
    return Padding(lines, (1, 0, 0, 2), expand=False)


def _issue_line(issue: View, translator: Translator) -> Text:
    title, measured = (printable(issue_text(issue, field, translator)) for field in ("title", "measured"))
    line = Text(f"  -{issue['penalty']:g}", _severity(issue))
    return line.append(f"  {title}: {measured}", "default")


def _issues_of(view: View, source: str, translator: Translator) -> list[RenderableType]:
    return [_issue(issue, translator) for issue in view["health"]["issues"] if issue["source"] == source]


def _severity(issue: View) -> str:
    return "red" if issue["severity"] == "critical" else "yellow"


def _source_state(state: str, translator: Translator) -> Text:
    colour = {"ok": "green", "partial": "yellow", "failed": "red"}.get(state, "dim")
    return Text(translator.translate(SOURCE_STATES[state]), colour)


def _not_read(view: View, source: str, translator: Translator) -> RenderableType:
    reasons = {state["name"]: printable(state["why"]) for state in view["sources"]}
    reason = reasons.get(source) or translator.translate("table.not_collected")
    line = translator.translate("table.source_not_read", source=source, reason=reason)
    return Group(Text(line, "red"), *_issues_of(view, source, translator))


def _unread(queue: View, translator: Translator) -> Text:
    name = printable(f"{queue['prefix']}:{queue['name']}")
    line = translator.translate("table.queue_not_read", queue=name, reason=printable(queue["why"]))
    return Text(line, "red")


def _node_state(node: View, translator: Translator) -> Text:
    state = node_state(node)
    colour = {"up": "green", "unhealthy": "yellow", "down": "red"}[state]
    return Text(translator.translate(NODE_STATES[state]), colour)


def _node_reasons(nodes: Iterable[View]) -> list[RenderableType]:
    reasons = [f"{printable(node['address'])}: {printable(node['why'])}" for node in nodes if node["why"]]
    return [Text(reason, "red") for reason in reasons]


def _of_max(node: View, translator: Translator) -> Text:
    used, maximum = node["memory_used_bytes"], node["memory_max_bytes"]
    if used is None or maximum is None:
        return Text()
    return Text(percent(used / maximum)) if maximum else Text(translator.translate("table.no_limit"), "dim")


def _queue_name(queue: View, *, prefixed: bool) -> str:
    return printable(f"{queue['prefix']}:{queue['name']}" if prefixed else queue["name"])


def _doubt(queue: View, translator: Translator, *, prefixed: bool) -> Text:
    name, why = _queue_name(queue, prefixed=prefixed), printable(queue["workers_unknown"])
    return Text(translator.translate("table.workers_unknown", queue=name, why=why), "yellow")


def _number(number: float | None, style: str = "") -> Text:
    """A number; ? for one that could not be read."""
    if number is None:
        return Text("?", style or "dim")
    return Text(count(number), style or ("dim" if not number else ""))
