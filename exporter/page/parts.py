"""The parts of the page but for queues and plots. Pure; everything that comes from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from exporter.page.frame import PageQuery, row, section, table
from exporter.peers.model import PeerStatus
from exporter.summaries import source_line
from exporter.views import View
from service.units import count, duration, milliseconds, percent, size

_COLOURS = {"ok": "healthy", "partial": "warning", "failed": "critical", "off": "dim"}


def header(view: View, query: PageQuery) -> str:
    up = view["uptime_seconds"]
    since = f" · {query.say('up')} {duration(up)}" if up is not None else ""
    about = escape(view["version"] + since)
    return (
        f'<header><h1>Oxherd</h1><span class="dim" id="about" data-live>{about}</span></header>'
        f'<p class="card critical" id="stale" role="alert" hidden>{escape(query.say("No answer since"))} '
        "<time></time></p>"
    )


def score(health: View, query: PageQuery) -> str:
    say, status = query.say, health["status"]
    number = len(health["issues"])
    told = f"{number} {say('issues' if number > 1 else 'issue')}" if number else say("no issues")
    card = (
        f'<div class="card score"><b class="{status}">{health["score"]:g}</b>'
        f'<span><strong class="{status}">{escape(say(status))}</strong><br>'
        f"<small>{escape(say('of 100'))}, {escape(told)}</small></span></div>"
    )
    issues = "".join(_issue(one, query) for one in health["issues"])
    return f'<section id="state" data-live aria-live="polite">{card}{issues}</section>'


def _issue(issue: View, query: PageQuery) -> str:
    say = query.say
    told = {name: escape(str(value)) for name, value in issue.items()}
    # A colour for one issue: critical is what would be so together with one more like it.
    kind = "critical" if issue["penalty"] >= 20 else "warning"
    return (
        f'<article class="card issue {kind}"><h3>{escape(say(issue["title"]))}</h3>'
        f'<div class="dim">{told["measured"]} · {escape(say("threshold"))} {told["threshold"]} · '
        f"&minus;{issue['penalty']:g} {escape(say('points'))}</div>"
        f"<p>{escape(say(issue['recommendation']))}</p></article>"
    )


def nodes(redis: View | None, query: PageQuery) -> str:
    """Each master with its replicas below it."""
    if redis is None or not redis["nodes"]:
        return ""
    say = query.say
    masters = [one for one in redis["nodes"] if one["role"] == "master"]
    known = {one["address"] for one in masters}
    ordered = []
    for master in masters:
        ordered += [master, *(one for one in redis["nodes"] if one["master"] == master["address"])]
    ordered += [one for one in redis["nodes"] if one not in ordered and one["master"] not in known]
    head = ["Node", "Role", "State", "Lag", "Memory", "Clients", "Commands/s", "Hit rate"]
    return section(
        "redis",
        say("Redis"),
        table(
            "redis",
            [(escape(say(one)), "number" if index > 2 else "text") for index, one in enumerate(head)],
            [_node(one, query) for one in ordered],
        ),
    )


def _node(one: View, query: PageQuery) -> str:
    say = query.say
    state, colour = ("up", "healthy") if one["up"] and one["healthy"] else ("unhealthy", "critical")
    if not one["up"]:
        state = "down"
    why = f" {escape(one['why'])}" if one["why"] and state != "up" else ""
    below = one["role"] != "master" and one["master"]
    return row(
        [
            (("↳ " if below else "") + escape(one["address"]), "replica" if below else "text"),
            (escape(one["role"]), "text"),
            (f'<span class="{colour}">{escape(say(state))}</span>{why}', "text"),
            (size(one["replication_lag_bytes"]), "number"),
            (size(one["memory_used_bytes"]), "number"),
            (count(one["connected_clients"]), "number"),
            (count(one["operations_per_second"]), "number"),
            (percent(one["hit_ratio"]), "number"),
        ]
    )


def alerts(peer: PeerStatus | None, query: PageQuery) -> str:
    if peer is None:
        return ""
    say = query.say
    if peer.why:
        content = f'<p class="card warning">{escape(peer.why)}</p>'
    elif not peer.data:
        content = f'<p class="card dim">{escape(say("none fires"))}</p>'
    else:
        rows = [
            row(
                [
                    (escape(one["name"]), "text"),
                    (escape(one["severity"]), "critical" if one["severity"] == "critical" else "warning"),
                    (escape(one["since"]), "text"),
                    (escape(one["summary"]), "why"),
                ]
            )
            for one in peer.data
        ]
        head = [(escape(say(one)), "text") for one in ("Alert", "Severity", "since")]
        content = table("alerts", [*head, ("", "text")], rows)
    return section("alerts", say("Alerts"), content)


def scaling(peer: PeerStatus | None, query: PageQuery) -> str:
    """What the scaler says of itself; why it says nothing, where it does not."""
    if peer is None:
        return ""
    say = query.say
    view = peer.data
    if peer.why or not isinstance(view, dict):
        return section("scaling", say("Scaling"), f'<p class="card warning">{escape(peer.why)}</p>')
    off = (
        ""
        if view.get("enabled", True)
        else f'<p class="dim">{escape(say("switched off: nothing is changed"))}</p>'
    )
    rows = [_target(one, query) for one in view.get("targets", ())]
    head = [
        ("Target", "text"),
        ("Current", "number"),
        ("Ready", "number"),
        ("Wanted", "number"),
        ("Load", "number"),
    ]
    return section(
        "scaling",
        say("Scaling"),
        off
        + table(
            "scaling", [*[(escape(say(one)), kind) for one, kind in head], (escape(say("Why")), "text")], rows
        ),
    )


def _target(one: View, query: PageQuery) -> str:
    override = one.get("override")
    told = escape(one.get("sentence") or one.get("error") or "")
    if override:
        by = f"{override['by']}: {override['reason']}"
        told = f'<span class="badge warning">{escape(query.say("by hand"))}</span> {escape(by)} · {told}'
    return row(
        [
            (escape(one["name"]), "name"),
            (count(one.get("current")), "number"),
            (count(one.get("ready")), "number"),
            (count(one.get("desired")), "number"),
            (percent(one.get("load_factor")), "number"),
            (told, "why"),
        ]
    )


def probes(listed: list[View] | None, query: PageQuery) -> str:
    if not listed:
        return ""
    say = query.say
    rows = []
    for one in listed:
        state, colour = ("not asked yet", "dim")
        if one["known"]:
            state, colour = ("well", "healthy") if one["well"] else ("fails", "critical")
        rows.append(
            row(
                [
                    (escape(one["name"]), "text"),
                    (escape(say(state)), colour),
                    (milliseconds(one.get("seconds")), "number"),
                    (escape(one.get("why") or ""), "why"),
                ]
            )
        )
    head = [
        (escape(say("Endpoint")), "text"),
        (escape(say("State")), "text"),
        (escape(say("Response")), "number"),
    ]
    return section("probes", say("Endpoints"), table("probes", [*head, ("", "text")], rows, stack=True))


def sources(view: View, query: PageQuery) -> str:
    say = query.say
    rows = [
        row(
            [
                (escape(one["name"]), "text"),
                (escape(say(one["state"])), _COLOURS[one["state"]]),
                (milliseconds(one["seconds"]), "number"),
                (escape(source_line(view, one)), "why"),
            ]
        )
        for one in view["sources"]
    ]
    head = [(escape(say("Source")), "text"), (escape(say("State")), "text"), (escape(say("Took")), "number")]
    return section("sources", say("Sources"), table("sources", [*head, ("", "text")], rows, stack=True))


def background(tasks: Iterable[View], query: PageQuery) -> str:
    say = query.say
    rows = [
        row(
            [
                (escape(one["name"]), "text"),
                (
                    escape(say("at work" if one["alive"] else "late")),
                    "healthy" if one["alive"] else "critical",
                ),
                (f"{duration(one['age_seconds'])} {escape(say('ago'))}", "number"),
                (str(one["restarts"]), "spare"),
            ]
        )
        for one in tasks
    ]
    if not rows:
        return ""
    head = [("Thread", "text"), ("State", "text"), ("Last done", "number"), ("Failures", "spare")]
    titles = [(escape(say(one)), kind) for one, kind in head]
    return section("background", say("Background"), table("background", titles, rows, stack=True))
