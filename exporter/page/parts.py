"""The parts of the page except queues and plots. Pure; every value from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from exporter.page.frame import PageQuery, row, section, table
from exporter.peers.model import PeerStatus
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

_ENDPOINT_COLOURS = {"ok": "healthy", "failing": "critical", "not_checked": "dim"}
_NODE_COLOURS = {"up": "healthy", "unhealthy": "warning", "down": "critical"}
_SOURCE_COLOURS = {"ok": "healthy", "partial": "warning", "failed": "critical", "off": "dim"}


def header(view: View, query: PageQuery) -> str:
    translate, uptime = query.translator.translate, view["uptime_seconds"]
    about = view["version"]
    if uptime is not None:
        about += f" · {translate('exporter.up', uptime=duration(uptime))}"
    return (
        f'<header><h1>Oxherd</h1><span class="dim" id="about" data-live>{escape(about)}</span></header>'
        '<p class="card critical" id="stale" role="alert" hidden>'
        f"{escape(translate('page.no_answer_since'))} <time></time></p>"
    )


def shard_card(view: View, query: PageQuery) -> str:
    """Which part of the queues the page has, and where the others are; empty where it has all."""
    shard = view["shard"]
    if not shard:
        return ""
    translate = query.translator.translate
    others = "".join(
        f' <a href="{escape(url)}">{number}</a>'
        for number, url in enumerate(shard["urls"], start=1)
        if number != shard["number"]
    )
    where = f"{escape(translate('page.other_shards'))}{others}" if others else ""
    unknown = escape(translate("page.other_shards_unknown", setting="shard_urls"))
    return f'<p class="card" id="shard">{escape(shard_line(view, query.translator))} {where or unknown}</p>'


def score(health: View, query: PageQuery) -> str:
    translator, status = query.translator, health["status"]
    issue_total = issue_count(health, translator)
    card = (
        f'<div class="card score"><b class="{status}">{health["score"]:g}</b>'
        f'<span><strong class="{status}">{escape(translator.translate(STATUSES[status]))}</strong><br>'
        f"<small>{escape(translator.translate('page.of_100'))}, {escape(issue_total)}</small></span></div>"
    )
    issues = "".join(_issue(issue, query) for issue in health["issues"])
    line = not_known_line(health, translator)
    not_known = f'<p class="dim">{escape(line)}</p>' if line else ""
    return f'<section id="state" data-live aria-live="polite">{card}{not_known}{issues}</section>'


def _issue(issue: View, query: PageQuery) -> str:
    translator = query.translator
    threshold = translator.translate("issues.threshold", threshold=issue_text(issue, "threshold", translator))
    points = translator.translate("page.points", points=f"{issue['penalty']:g}")
    # The colour of an issue: critical if two such issues would make the score critical.
    kind = "critical" if issue["severity"] == "critical" else "warning"
    return (
        f'<article class="card issue {kind}"><h3>{escape(issue_text(issue, "title", translator))}</h3>'
        f'<div class="dim">{escape(issue_text(issue, "measured", translator))} · {escape(threshold)} · '
        f"{escape(points)}</div>"
        f"<p>{escape(issue_text(issue, 'recommendation', translator))}</p></article>"
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
        (escape(translate("page.column.node")), "text"),
        (escape(translate("page.column.role")), "text"),
        (escape(translate("page.column.state")), "text"),
        (escape(translate("page.column.lag")), "number"),
        (escape(translate("page.column.memory")), "number"),
        (escape(translate("page.column.clients")), "number"),
        (escape(translate("page.column.commands")), "number"),
        (escape(translate("page.column.hit_ratio")), "number"),
    ]
    rows = [_node(node, query) for node in ordered]
    return section(
        "redis",
        translate("page.redis"),
        f'<p class="dim">{escape(redis_line(redis, query.translator))}</p>' + table("redis", head, rows),
    ) + section("performance", "", _performance(ordered, query))


def _performance(listed: Sequence[View], query: PageQuery) -> str:
    """The same nodes in the same order: what they use and what they did, without columns that are empty."""
    empty = empty_figures(listed)
    figures = [figure for name, figure in NODE_FIGURES.items() if name not in empty]
    head = [(escape(query.translator.translate("page.column.node")), "text")] + [
        (escape(_capital(query.translator.translate(figure.title))), "number") for figure in figures
    ]
    rows = [
        row(
            [
                (escape(node["address"]), "text"),
                *((escape(figure.text(node)), "number") for figure in figures),
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
        row([(escape(_capital(name)), "text"), (escape(text), "why")])
        for name, text in host_rows(state, query.translator)
    ]
    translate = query.translator.translate
    head = [
        (escape(translate("page.column.figure")), "text"),
        (escape(translate("page.column.value")), "text"),
    ]
    return section("host", translate("page.host"), table("host", head, rows))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _node(node: View, query: PageQuery) -> str:
    state = node_state(node)
    colour = _NODE_COLOURS[state]
    why = f" {escape(node['why'])}" if node["why"] and state != "up" else ""
    below = node["role"] != "master" and node["master"]
    title = escape(query.translator.translate(NODE_STATES[state]))
    return row(
        [
            (("↳ " if below else "") + escape(node["address"]), "replica" if below else "text"),
            (escape(node["role"]), "text"),
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
        content = f'<p class="card warning">{escape(peer.why)}</p>'
    elif not peer.data:
        content = f'<p class="card dim">{escape(translate("page.no_alerts"))}</p>'
    else:
        rows = [
            row(
                [
                    (escape(alert["name"]), "text"),
                    (
                        escape(alert["severity"]),
                        "critical" if alert["severity"] == "critical" else "warning",
                    ),
                    (escape(alert["since"]), "text"),
                    (escape(alert["summary"]), "why"),
                ]
            )
            for alert in peer.data
        ]
        head = [
            (escape(translate("page.column.alert")), "text"),
            (escape(translate("page.column.severity")), "text"),
            (escape(translate("page.column.since")), "text"),
            ("", "text"),
        ]
        content = table("alerts", head, rows)
    return section("alerts", translate("page.alerts"), content)


def scaling(peer: PeerStatus | None, query: PageQuery) -> str:
    """The targets as the scaler reports them, or why there is no report."""
    if peer is None:
        return ""
    translate, view = query.translator.translate, peer.data
    title = translate("page.scaling")
    if peer.why or not isinstance(view, dict):
        return section("scaling", title, f'<p class="card warning">{escape(peer.why)}</p>')
    switched_off = ""
    if not view.get("enabled", True):
        switched_off = f'<p class="dim">{escape(translate("scaling.off"))}</p>'
    head = [
        (escape(translate("page.column.target")), "text"),
        (escape(translate("page.column.current")), "number"),
        (escape(translate("page.column.ready")), "number"),
        (escape(translate("page.column.desired")), "number"),
        (escape(translate("page.column.load")), "number"),
        (escape(translate("page.column.utilization")), "number"),
        (escape(translate("page.column.done")), "number"),
        (escape(translate("page.column.run_average")), "number"),
        (escape(translate("page.column.reason")), "text"),
    ]
    rows = [_target(target, query) for target in view.get("targets", ())]
    return section("scaling", title, switched_off + table("scaling", head, rows))


def _target(target: View, query: PageQuery) -> str:
    override, activity = target.get("override"), target.get("activity") or {}
    reason = escape(target.get("sentence") or target.get("error") or "")
    if override:
        badge = escape(query.translator.translate("scaling.override"))
        author = escape(f"{override['by']}: {override['reason']}")
        reason = f'<span class="badge warning">{badge}</span> {author} · {reason}'
    return row(
        [
            (escape(target["name"]), "name"),
            (count(target.get("current")), "number"),
            (count(target.get("ready")), "number"),
            (count(target.get("desired")), "number"),
            (percent(target.get("load_factor")), "number"),
            (percent(target.get("worker_utilization")), "number"),
            (count(activity.get("jobs_per_minute")), "number"),
            (milliseconds(activity.get("processing_seconds")), "number"),
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
                    (escape(endpoint["name"]), "text"),
                    (escape(translate(ENDPOINT_STATES[state])), _ENDPOINT_COLOURS[state]),
                    (milliseconds(endpoint.get("seconds")), "number"),
                    (percent(endpoint.get("error_rate")), "number"),
                    (escape(endpoint.get("why") or ""), "why"),
                ]
            )
        )
    head = [
        (escape(translate("page.column.endpoint")), "text"),
        (escape(translate("page.column.state")), "text"),
        (escape(translate("page.column.response")), "number"),
        (escape(translate("page.column.errors")), "number"),
        ("", "text"),
    ]
    return section("probes", translate("page.endpoints"), table("probes", head, rows, stack=True))


def sources(view: View, query: PageQuery) -> str:
    translate = query.translator.translate
    rows = [
        row(
            [
                (escape(source["name"]), "text"),
                (escape(translate(SOURCE_STATES[source["state"]])), _SOURCE_COLOURS[source["state"]]),
                (milliseconds(source["seconds"]), "number"),
                (escape(source_line(view, source, query.translator)), "why"),
            ]
        )
        for source in view["sources"]
    ]
    head = [
        (escape(translate("page.column.source")), "text"),
        (escape(translate("page.column.state")), "text"),
        (escape(translate("page.column.took")), "number"),
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
                    (escape(task["name"]), "text"),
                    (escape(state), colour),
                    (escape(age), "number"),
                    (str(task["restarts"]), "spare"),
                ]
            )
        )
    if not rows:
        return ""
    head = [
        (escape(translate("page.column.thread")), "text"),
        (escape(translate("page.column.state")), "text"),
        (escape(translate("page.column.last_step")), "number"),
        (escape(translate("page.column.failures")), "spare"),
    ]
    return section("background", translate("page.background"), table("background", head, rows, stack=True))
