"""The status page: one HTML text, from the same data as /status.json; loads nothing, runs nothing."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

from exporter.lines import source_line
from exporter.views import NO_MONITORING, View
from service.units import duration, milliseconds

_LINKS: Final = {
    "/metrics": "for Prometheus",
    "/status.json": "this page as data",
    "/healthz": "alive",
    "/readyz": "ready",
    "/openapi.json": "these paths",
}

_STYLE: Final = """
:root { color-scheme: light dark;
  --text: #1c2024; --dim: #5f6a75; --line: #d9dee3; --back: #f6f7f9; --card: #fff;
  --healthy: #1a7f37; --warning: #946200; --critical: #c9252d; }
@media (prefers-color-scheme: dark) { :root {
  --text: #e6e9ec; --dim: #9aa5b1; --line: #333a42; --back: #14171a; --card: #1c2025;
  --healthy: #4cc26a; --warning: #e0b03c; --critical: #ff7b76; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .75rem; }
h1 { font-size: 1.25rem; margin: 0; } h2 { font-size: 1rem; margin: 2rem 0 .5rem; }
.dim, small { color: var(--dim); font-size: .875rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem;
  margin: .75rem 0; overflow-wrap: anywhere; }
.score { display: flex; align-items: center; gap: 1rem; }
.score b { font-size: 3rem; line-height: 1; font-variant-numeric: tabular-nums; }
.healthy { color: var(--healthy); } .warning { color: var(--warning); } .critical { color: var(--critical); }
.issue { border-left: .25rem solid currentColor; } .issue > h3, .issue > p { color: var(--text); }
.issue h3 { font-size: 1rem; margin: 0 0 .25rem; } .issue p { margin: .25rem 0 0; }
.wide { overflow-x: auto; padding: 0; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .75rem; border-top: 1px solid var(--line); white-space: nowrap; }
tr:first-child th { border-top: 0; } th { color: var(--dim); font-weight: 500; font-size: .875rem; }
td.why { white-space: normal; min-width: 12rem; overflow-wrap: anywhere; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
@media (max-width: 34rem) {
  .wide tr { display: grid; grid-template-columns: 2fr 1.5fr 2fr; border-top: 1px solid var(--line); }
  .wide tr:first-child, .wide th, .wide td { border-top: 0; }
  td.why { grid-column: 1 / -1; padding-top: 0; } td.why:empty, th:empty, .spare { display: none; } }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin-top: 2rem; } nav a { color: inherit; }
"""


def status_page(view: View) -> str:
    """The whole page; everything that comes from outside is escaped."""
    health = view["health"]
    title = f"{health['score']:g} {health['status']} · Oxherd" if health else "Oxherd"
    body = [_header(view)]
    if health is None:
        why = NO_MONITORING if not view["monitoring"] else "nothing has been collected yet"
        body.append(f'<p class="card">{escape(why[0].upper() + why[1:])}.</p>')
    else:
        body += [_score(health), *map(_issue, health["issues"]), _sources(view)]
    body += [_background(view["background"]), _nav()]
    content = "\n".join(filter(None, body))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="refresh" content="15">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{content}\n</main>\n</body>\n</html>\n"
    )


def _header(view: View) -> str:
    up = view["uptime_seconds"]
    since = f" · up {duration(up)}" if up is not None else ""
    return (
        f'<header><h1>Oxherd</h1><span class="dim">{escape(view["version"])}{escape(since)}</span></header>'
    )


def _score(health: View) -> str:
    status = escape(health["status"])
    count = len(health["issues"])
    words = f"{count} issue{'s' if count > 1 else ''}" if count else "no issues"
    return (
        f'<section class="card score"><b class="{status}">{health["score"]:g}</b>'
        f'<span><strong class="{status}">{status}</strong><br><small>of 100, {words}</small></span></section>'
    )


def _issue(issue: View) -> str:
    told = {name: escape(str(value)) for name, value in issue.items()}
    return (
        f'<article class="card issue {_severity(issue["penalty"])}"><h3>{told["title"]}</h3>'
        f'<div class="dim">{told["measured"]} · threshold {told["threshold"]} · '
        f"&minus;{issue['penalty']:g} points</div><p>{told['recommendation']}</p></article>"
    )


def _severity(penalty: float) -> str:
    """A colour for one issue: what would be critical together with one more like it."""
    return "critical" if penalty >= 20 else "warning"


def _sources(view: View) -> str:
    colours = {"ok": "healthy", "partial": "warning", "failed": "critical", "off": "dim"}
    rows = "".join(
        f'<tr><td>{escape(one["name"])}</td><td class="{colours[one["state"]]}">{one["state"]}</td>'
        f'<td class="number">{milliseconds(one["seconds"])}</td>'
        f'<td class="why">{escape(source_line(view, one))}</td></tr>'
        for one in view["sources"]
    )
    head = '<tr><th>Source</th><th>State</th><th class="number">Took</th><th></th></tr>'
    return f'<h2>Sources</h2>\n<div class="card wide"><table>{head}{rows}</table></div>'


def _background(tasks: Iterable[View]) -> str:
    rows = "".join(
        f"<tr><td>{escape(task['name'])}</td>"
        + ('<td class="healthy">at work</td>' if task["alive"] else '<td class="critical">late</td>')
        + f'<td class="number">{escape(duration(task["age_seconds"]))} ago</td>'
        f'<td class="number spare">{task["restarts"]}</td></tr>'
        for task in tasks
    )
    if not rows:
        return ""
    head = (
        '<tr><th>Thread</th><th>State</th><th class="number">Last done</th>'
        '<th class="number spare">Failures</th></tr>'
    )
    return f'<h2>Background</h2>\n<div class="card wide"><table>{head}{rows}</table></div>'


def _nav() -> str:
    links = "".join(
        f'<span><a href="{path}">{path}</a> <small>{what}</small></span>' for path, what in _LINKS.items()
    )
    return f"<nav>{links}</nav>"
