"""The queue table: searched, sorted and split into pages here, so that the page stays small. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, Final

from exporter.derived import waiting_jobs
from exporter.jobs.lines import failed_reason_lines
from exporter.page.frame import PageQuery, as_html, row, section, table
from exporter.page.job_names import names_table
from exporter.summaries import (
    cell_level,
    has_several_prefixes,
    pause_mark,
    queue_conditions,
    queues_line,
    scheduler_lines,
    search_lines,
)
from exporter.views import View, job_counts
from service.units import count, duration, milliseconds, percent, printable

ROWS: Final = 50


def _rate(queue: View, name: str) -> float | None:
    rates = queue["rates"]
    return None if rates is None else rates[name]


def _short(value: float) -> str:
    return f"{value:.1f}" if 0 < value < 10 else count(value)


_FIGURES: Final[Mapping[str, tuple[str, Callable[[View], float | None], Callable[[Any], str]]]] = {
    "waiting": ("page.column.waiting", lambda queue: waiting_jobs(job_counts(queue)), count),
    "active": ("page.column.active", lambda queue: queue["active"], count),
    "delayed": ("page.column.delayed", lambda queue: queue["delayed"], count),
    "prioritized": ("page.column.prioritized", lambda queue: queue["prioritized"], count),
    "waiting_children": ("page.column.children", lambda queue: queue["waiting_children"], count),
    "completed": ("page.column.completed", lambda queue: queue["completed"], count),
    "failed": ("page.column.failed", lambda queue: queue["failed"], count),
    "workers": ("page.column.workers", lambda queue: queue["workers"], count),
    "oldest": ("page.column.oldest", lambda queue: queue["oldest_waiting"], duration),
    "load": ("page.column.load", lambda queue: queue["load_factor"], percent),
    "utilization": ("page.column.utilization", lambda queue: queue["worker_utilization"], percent),
    "done": ("page.column.done", lambda queue: _rate(queue, "completed_per_minute"), _short),
    "errors": ("page.column.errors", lambda queue: _rate(queue, "error_rate"), percent),
    "wait_average": ("page.column.wait_average", lambda queue: _rate(queue, "wait_average"), milliseconds),
    "wait": ("page.column.wait", lambda queue: _rate(queue, "wait_p95"), milliseconds),
    "run_average": (
        "page.column.run_average",
        lambda queue: _rate(queue, "processing_average"),
        milliseconds,
    ),
    "run": ("page.column.run", lambda queue: _rate(queue, "processing_p95"), milliseconds),
}
"""Each column: its title as a message id, its value, and the format of the value. As in the table of
`monitor queues`, the last ones are the least needed: a narrow screen does not show them."""

SORTS: Final = ("name", *_FIGURES)


def queue_search(query: PageQuery) -> str:
    """The search form, which stays while the table below it is replaced."""
    translate = query.translator.translate
    hidden = f'<input type="hidden" name="sort" value="{query.sort}">' if query.sort != "waiting" else ""
    if query.chosen:
        hidden += f'<input type="hidden" name="lang" value="{query.language}">'
    return (
        f'<h2>{as_html(translate("page.queues"))}</h2><form id="find" role="search" action="/">{hidden}'
        f'<input id="search" name="q" type="search" maxlength="200" value="{escape(query.search)}" '
        f'placeholder="{as_html(translate("page.search_hint"))}" '
        f'aria-label="{as_html(translate("page.search"))}" aria-keyshortcuts="/" autocomplete="off">'
        f"<noscript><button>{as_html(translate('page.search'))}</button></noscript></form>"
    )


def queue_table(view: View, query: PageQuery) -> str:
    """One page of the matching queues; queues that cannot be read come first."""
    translate, state = query.translator.translate, view["queues"]
    unread = [queue for queue in state["unread"] if _matches(queue, query.search)]
    queues = [queue for queue in state["queues"] if _matches(queue, query.search)]
    matching = [*unread, *_sorted(queues, query.sort)]
    pages = max(1, -(-len(matching) // ROWS))
    page = min(max(1, query.page), pages)
    visible = matching[(page - 1) * ROWS : page * ROWS]
    if not matching:
        known = len(state["queues"]) + len(state["unread"])
        text = translate("page.no_matching_queue") if known else translate("page.no_queues")
        return section("queues", "", f'<p class="card">{as_html(text)}</p>{_searched(view, query)}')
    first = (page - 1) * ROWS + 1
    position = translate("page.rows", first=first, last=first + len(visible) - 1, count=len(matching))
    prefixed, conditions = has_several_prefixes(state), queue_conditions(view["health"])
    rows = [
        _unread(queue, query, prefixed=prefixed)
        if "why" in queue
        else _queue(queue, query, conditions.get((queue["prefix"], queue["name"]), {}), prefixed=prefixed)
        for queue in visible
    ]
    return section(
        "queues",
        "",
        table("queues", _head(query), rows) + f'<p class="dim pages" aria-live="polite">{as_html(position)} '
        f"{_pages(page, pages, query)}</p>{names_table(queues, query, prefixed=prefixed)}"
        f"{_searched(view, query)}",
    )


def _searched(view: View, query: PageQuery) -> str:
    """What was searched for queues, and the candidates that are none."""
    state = view["queues"]
    lines = [queues_line(state, query.translator), *search_lines(state, query.translator)]
    late = scheduler_lines(view, query.translator)
    failing = failed_reason_lines(view, query.translator, prefixed=has_several_prefixes(state))
    return "".join(
        [
            *(f'<p class="warning">{as_html(line)}</p>' for line in late),
            *(f"<p>{as_html(line)}</p>" for line in failing),
            *(f'<p class="dim">{as_html(line)}</p>' for line in lines),
        ]
    )


def _head(query: PageQuery) -> list[tuple[str, Any]]:
    titles = {"name": "page.column.queue"} | {name: title for name, (title, _, _) in _FIGURES.items()}
    return [
        (
            f'<a data-go href="{as_html(query.url(sort=name, page=1))}"'
            + (
                f' aria-sort="{"ascending" if name == "name" else "descending"}"'
                if name == query.sort
                else ""
            )
            + f">{as_html(query.translator.translate(title))}</a>",
            "text" if name == "name" else "number",
        )
        for name, title in titles.items()
    ]


def _queue(queue: View, query: PageQuery, conditions: Mapping[str, str], *, prefixed: bool) -> str:
    cells = [(_name(queue, query, conditions, prefixed=prefixed), "name")]
    for name, (_, value, written) in _FIGURES.items():
        number = value(queue)
        level = cell_level(conditions, name)
        text = _unknown(queue, name, level) if number is None else as_html(written(number))
        cells.append((text, f"number {level}".rstrip()))
    return row(cells)


def _unread(queue: View, query: PageQuery, *, prefixed: bool) -> str:
    state = as_html(query.translator.translate("page.cannot_be_read"))
    why = f'<span class="critical">{state}</span>: {as_html(queue["why"])}'
    title = _title(queue, prefixed=prefixed)
    return f'<tr><td class="name">{title}</td><td class="why" colspan="{len(_FIGURES)}">{why}</td></tr>'


def _name(queue: View, query: PageQuery, conditions: Mapping[str, str], *, prefixed: bool) -> str:
    """The queue's name, and what must be known of its row."""
    badges = []
    if mark := pause_mark(queue):
        badges.append(_badge(mark, "", cell_level(conditions, "paused") or "dim", query))
    if queue["odd"]:
        badges.append(_badge("queue.partly_read", "; ".join(queue["odd"]), "warning", query))
    library = ['<span class="badge">Bull</span>'] if queue["library"] == "bull" else []
    return " ".join([_title(queue, prefixed=prefixed), *library, *badges])


def _unknown(queue: View, column: str, level: str) -> str:
    """An empty cell, except for a number of workers that is there and not known."""
    why = queue.get("workers_unknown") if column == "workers" else ""
    return f'<span class="{level or "dim"}" title="{as_html(why)}">?</span>' if why else ""


def _badge(text: str, why: str, level: str, query: PageQuery) -> str:
    title = f' title="{as_html(why)}"' if why else ""
    return f'<span class="badge {level}"{title}>{as_html(query.translator.translate(text))}</span>'


def _title(queue: View, *, prefixed: bool) -> str:
    prefix = f'<span class="dim">{as_html(printable(queue["prefix"]))}:</span>' if prefixed else ""
    return prefix + as_html(printable(queue["name"]))


def _pages(page: int, pages: int, query: PageQuery) -> str:
    links = []
    if page > 1:
        links.append(_link(query.translator.translate("page.previous"), page - 1, query))
    if page < pages:
        links.append(_link(query.translator.translate("page.next"), page + 1, query))
    return " · ".join(links)


def _link(text: str, page: int, query: PageQuery) -> str:
    return f'<a data-go href="{as_html(query.url(page=page))}">{as_html(text)}</a>'


def _matches(queue: View, search: str) -> bool:
    return search.casefold() in f"{queue['prefix']}:{queue['name']}".casefold()


def _sorted(queues: Sequence[View], sort: str) -> list[View]:
    """By name, or by a figure, the largest first and unknown values last."""
    named = sorted(queues, key=lambda queue: (queue["name"], queue["prefix"]))
    if sort not in _FIGURES:
        return named
    value = _FIGURES[sort][1]

    def rank(queue: View) -> tuple[bool, float]:
        number = value(queue)
        return number is None, -(number or 0.0)

    return sorted(named, key=rank)
