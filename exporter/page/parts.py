"""The parts of the page except queues and plots. Pure; every value from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from exporter.page.frame import PageQuery, as_html, row, section, table
from exporter.peers.model import PeerStatus
from exporter.peers.scaler_report import ScalerReport, TargetReport
from exporter.summaries import (
    ENDPOINT_STATES,
    NODE_FIGURES,
    NODE_STATES,
    SOURCE_STATES,
    STATUSES,
    empty_figures,
    endpoint_state,
    host_rows,
    issue_count,
    node_state,
    not_known_line,
    redis_line,
    shard_line,
    source_line,
)
from exporter.views import View, issue_text
from service.units import count, duration, milliseconds, percent, size

_ODD_SHOWN: Final = 5
_ENDPOINT_COLOURS = {"ok": "healthy", "failing": "critical", "not_checked": "dim"}
_NODE_COLOURS = {"up": "healthy", "unhealthy": "warning", "down": "critical"}
_SOURCE_COLOURS = {"ok": "healthy", "partial": "warning", "failed": "critical", "off": "dim"}


def header(view: View, query: PageQuery) -> str:
    translate, uptime = query.translator.translate, view["uptime_seconds"]
    about = view["version"]
    if uptime is not None:
        about += f" · {translate('exporter.up', uptime=duration(uptime))}"
    return (
        f'<header><h1>Oxherd</h1><span class="dim" id="about" data-live>{as_html(about)}</span></header>'
        '<p class="card critical" id="stale" role="alert" hidden>'
        f"{as_html(translate('page.no_answer_since'))} <time></time></p>"
    )


def shard_card(view: View, query: PageQuery) -> str:
    """Which part of the queues the page has, and where the others are; empty where it has all."""
    shard = view["shard"]
    if not shard:
        return ""
    translate = query.translator.translate
    others = "".join(
        f' <a href="{as_html(url)}">{number}</a>'
        for number, url in enumerate(shard["urls"], start=1)
        if number != shard["number"]
    )
    where = f"{as_html(translate('page.other_shards'))}{others}" if others else ""
    unknown = as_html(translate("page.other_shards_unknown", setting="shard_urls"))
    return f'<p class="card" id="shard">{as_html(shard_line(view, query.translator))} {where or unknown}</p>'


def score(health: View, query: PageQuery) -> str:
    translator, status = query.translator, health["status"]
    issue_total = issue_count(health, translator)
    card = (
        f'<div class="card score"><b class="{status}">{health["score"]:g}</b>'
        f'<span><strong class="{status}">{as_html(translator.translate(STATUSES[status]))}</strong><br>'
        f"<small>{as_html(translator.translate('page.of_100'))}, {as_html(issue_total)}</small></span></div>"
    )
    issues = "".join(_issue(issue, query) for issue in health["issues"])
    line = not_known_line(health, translator)
    not_known = f'<p class="dim">{as_html(line)}</p>' if line else ""
    return f'<section id="state" data-live aria-live="polite">{card}{not_known}{issues}</section>'


def _issue(issue: View, query: PageQuery) -> str:
    translator = query.translator
    threshold = translator.translate("issues.threshold", threshold=issue_text(issue, "threshold", translator))
    points = translator.translate("page.points", points=f"{issue['penalty']:g}")
    # The colour of an issue: critical if two such issues would make the score critical.
    kind = "critical" if issue["severity"] == "critical" else "warning"
    return (
        f'<article class="card issue {kind}"><h3>{as_html(issue_text(issue, "title", translator))}</h3>'
        f'<div class="dim">{as_html(issue_text(issue, "measured", translator))} · {as_html(threshold)} · '
        f"{as_html(points)}</div>"
        f"<p>{as_html(issue_text(issue, 'recommendation', translator))}</p></article>"
    )


def nodes(redis: View | None, query: PageQuery) -> str:
    """Each master with its replicas below it."""
    if redis is None or not redis["nodes"]:
        return ""
    translate = query.translator.translate
    masters = [node for node in redis["nodes"] if node["role"] == "master"]
    known = {master["address"] for master in masters}
    ordered = []
    for master in masters:
        ordered += [master, *(node for node in redis["nodes"] if node["master"] == master["address"])]
    ordered += [node for node in redis["nodes"] if node not in ordered and node["master"] not in known]
    head = [
        (as_html(translate("page.column.node")), "text"),
        (as_html(translate("page.column.role")), "text"),
        (as_html(translate("page.column.state")), "text"),
        (as_html(translate("page.column.lag")), "number"),
        (as_html(translate("page.column.memory")), "number"),
        (as_html(translate("page.column.clients")), "number"),
        (as_html(translate("page.column.commands")), "number"),
        (as_html(translate("page.column.hit_ratio")), "number"),
    ]
    rows = [_node(node, query) for node in ordered]
    return section(
        "redis",
        translate("page.redis"),
        f'<p class="dim">{as_html(redis_line(redis, query.translator))}</p>' + table("redis", head, rows),
    ) + section("performance", "", _performance(ordered, query))


def _performance(listed: Sequence[View], query: PageQuery) -> str:
    """The same nodes in the same order: what they use and what they did, without columns that are empty."""
    empty = empty_figures(listed)
    figures = [figure for name, figure in NODE_FIGURES.items() if name not in empty]
    head = [(as_html(query.translator.translate("page.column.node")), "text")] + [
        (as_html(_capital(query.translator.translate(figure.title))), "number") for figure in figures
    ]
    rows = [
        row(
            [
                (as_html(node["address"]), "text"),
                *((as_html(figure.text(node)), "number") for figure in figures),
            ]
        )
        for node in listed
    ]
    return table("performance", head, rows)


def host(state: View | None, query: PageQuery) -> str:
    """The figures of the host, a row each."""
    if state is None:
        return ""
    rows = [
        row([(as_html(_capital(name)), "text"), (as_html(text), "why")])
        for name, text in host_rows(state, query.translator)
    ]
    translate = query.translator.translate
    head = [
        (as_html(translate("page.column.figure")), "text"),
        (as_html(translate("page.column.value")), "text"),
    ]
    return section("host", translate("page.host"), table("host", head, rows))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _node(node: View, query: PageQuery) -> str:
    state = node_state(node)
    colour = _NODE_COLOURS[state]
    why = f" {as_html(node['why'])}" if node["why"] and state != "up" else ""
    below = node["role"] != "master" and node["master"]
    title = as_html(query.translator.translate(NODE_STATES[state]))
    return row(
        [
            (("↳ " if below else "") + as_html(node["address"]), "replica" if below else "text"),
            (as_html(node["role"]), "text"),
            (f'<span class="{colour}">{title}</span>{why}', "text"),
            (size(node["replication_lag_bytes"]), "number"),
            (size(node["memory_used_bytes"]), "number"),
            (count(node["connected_clients"]), "number"),
            (count(node["operations_per_second"]), "number"),
            (percent(node["hit_ratio"]), "number"),
        ]
    )


def alerts(peer: PeerStatus | None, query: PageQuery) -> str:
    if peer is None:
        return ""
    translate = query.translator.translate
    if peer.why:
        content = f'<p class="card warning">{as_html(peer.why)}</p>'
    elif not peer.data:
        content = f'<p class="card dim">{as_html(translate("page.no_alerts"))}</p>'
    else:
        rows = [
            row(
                [
                    (as_html(alert["name"]), "text"),
                    (
                        as_html(alert["severity"]),
                        "critical" if alert["severity"] == "critical" else "warning",
                    ),
                    (as_html(alert["since"]), "text"),
                    (as_html(alert["summary"]), "why"),
                ]
            )
            for alert in peer.data
        ]
        head = [
            (as_html(translate("page.column.alert")), "text"),
            (as_html(translate("page.column.severity")), "text"),
            (as_html(translate("page.column.since")), "text"),
            ("", "text"),
        ]
        content = table("alerts", head, rows)
    return section("alerts", translate("page.alerts"), content)


def scaling(peer: PeerStatus | None, query: PageQuery) -> str:
    """The targets as the scaler reports them, or why there is no report."""
    if peer is None:
        return ""
    translate, report = query.translator.translate, peer.data
    title = translate("page.scaling")
    if peer.why or not isinstance(report, ScalerReport):
        return section("scaling", title, f'<p class="card warning">{as_html(peer.why)}</p>')
    lines = "" if report.enabled else f'<p class="dim">{as_html(translate("scaling.off"))}</p>'
    lines += "".join(f'<p class="warning">{as_html(line)}</p>' for line in _odd_lines(report, query))
    head = [
        (as_html(translate("page.column.target")), "text"),
        (as_html(translate("page.column.current")), "number"),
        (as_html(translate("page.column.ready")), "number"),
        (as_html(translate("page.column.desired")), "number"),
        (as_html(translate("page.column.load")), "number"),
        (as_html(translate("page.column.utilization")), "number"),
        (as_html(translate("page.column.done")), "number"),
        (as_html(translate("page.column.run_average")), "number"),
        (as_html(translate("page.column.reason")), "text"),
    ]
    rows = [_target(target, query) for target in report.targets]
    return section("scaling", title, lines + table("scaling", head, rows))


def _odd_lines(report: ScalerReport, query: PageQuery) -> list[str]:
    """What of the scaler's status cannot be shown."""
    translate, lines = query.translator.translate, []
    if report.odd:
        named = ", ".join(report.odd[:_ODD_SHOWN]) + (", ..." if len(report.odd) > _ODD_SHOWN else "")
        lines.append(translate("page.scaling_odd", parts=named))
    if report.left_out:
        lines.append(translate("page.scaling_left_out", count=report.left_out))
    return lines


def _target(target: TargetReport, query: PageQuery) -> str:
    reason = as_html(target.reason)
    if target.override:
        badge = as_html(query.translator.translate("scaling.override"))
        reason = f'<span class="badge warning">{badge}</span> {as_html(target.override)} · {reason}'
    return row(
        [
            (as_html(target.name), "name"),
            (count(target.current), "number"),
            (count(target.ready), "number"),
            (count(target.desired), "number"),
            (percent(target.load_factor), "number"),
            (percent(target.worker_utilization), "number"),
            (count(target.jobs_per_minute), "number"),
            (milliseconds(target.processing_seconds), "number"),
            (reason, "why"),
        ]
    )


def probes(endpoints: list[View] | None, query: PageQuery) -> str:
    if not endpoints:
        return ""
    translate = query.translator.translate
    rows = []
    for endpoint in endpoints:
        state = endpoint_state(endpoint)
        rows.append(
            row(
                [
                    (as_html(endpoint["name"]), "text"),
                    (as_html(translate(ENDPOINT_STATES[state])), _ENDPOINT_COLOURS[state]),
                    (milliseconds(endpoint.get("seconds")), "number"),
                    (percent(endpoint.get("error_rate")), "number"),
                    (as_html(endpoint.get("why") or ""), "why"),
                ]
            )
        )
    head = [
        (as_html(translate("page.column.endpoint")), "text"),
        (as_html(translate("page.column.state")), "text"),
        (as_html(translate("page.column.response")), "number"),
        (as_html(translate("page.column.errors")), "number"),
        ("", "text"),
    ]
    return section("probes", translate("page.endpoints"), table("probes", head, rows, stack=True))


def sources(view: View, query: PageQuery) -> str:
    translate = query.translator.translate
    rows = [
        row(
            [
                (as_html(source["name"]), "text"),
                (as_html(translate(SOURCE_STATES[source["state"]])), _SOURCE_COLOURS[source["state"]]),
                (milliseconds(source["seconds"]), "number"),
                (as_html(source_line(view, source, query.translator)), "why"),
            ]
        )
        for source in view["sources"]
    ]
    head = [
        (as_html(translate("page.column.source")), "text"),
        (as_html(translate("page.column.state")), "text"),
        (as_html(translate("page.column.took")), "number"),
        ("", "text"),
    ]
    return section("sources", translate("page.sources"), table("sources", head, rows, stack=True))


def background(tasks: Iterable[View], query: PageQuery) -> str:
    translate = query.translator.translate
    rows = []
    for task in tasks:
        state, colour = translate("thread.running"), "healthy"
        if not task["alive"]:
            state, colour = translate("thread.late"), "critical"
        age = translate("page.ago", duration=duration(task["age_seconds"]))
        rows.append(
            row(
                [
                    (as_html(task["name"]), "text"),
                    (as_html(state), colour),
                    (as_html(age), "number"),
                    (str(task["restarts"]), "spare"),
                ]
            )
        )
    if not rows:
        return ""
    head = [
        (as_html(translate("page.column.thread")), "text"),
        (as_html(translate("page.column.state")), "text"),
        (as_html(translate("page.column.last_step")), "number"),
        (as_html(translate("page.column.failures")), "spare"),
    ]
    return section("background", translate("page.background"), table("background", head, rows, stack=True))
