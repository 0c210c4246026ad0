"""The queue table: searched, sorted and cut into pages here, so that it is small at any size. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, Final

from exporter.derived import waiting_jobs
from exporter.page.frame import PageQuery, row, section, table
from exporter.views import View, job_counts
from service.units import count, duration, milliseconds, percent

ROWS: Final = 50


def _rate(one: View, name: str) -> float | None:
    rates = one["rates"]
    return None if rates is None else rates[name]


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 10 else count(value)


_FIGURES: Final[Mapping[str, tuple[str, Callable[[View], float | None], Callable[[Any], str]]]] = {
    "waiting": ("Waiting", lambda one: waiting_jobs(job_counts(one)), count),
    "active": ("Active", lambda one: one["active"], count),
    "delayed": ("Delayed", lambda one: one["delayed"], count),
    "failed": ("Failed", lambda one: one["failed"], count),
    "done": ("Done/min", lambda one: _rate(one, "completed_per_minute"), _short),
    "errors": ("Errors", lambda one: _rate(one, "error_rate"), percent),
    "wait": ("Wait, p95", lambda one: _rate(one, "wait_p95"), milliseconds),
    "run": ("Run, p95", lambda one: _rate(one, "processing_p95"), milliseconds),
    "oldest": ("Oldest", lambda one: one["oldest_waiting"], duration),
    "workers": ("Workers", lambda one: one["workers"], count),
    "load": ("Load", lambda one: one["load_factor"], percent),
}

SORTS: Final = ("name", *_FIGURES)


def queue_search(query: PageQuery) -> str:
    """The form, which stays while the table below it is replaced."""
    say = query.say
    hidden = f'<input type="hidden" name="sort" value="{query.sort}">' if query.sort != "waiting" else ""
    if query.chosen:
        hidden += f'<input type="hidden" name="lang" value="{query.language}">'
    return (
        f'<h2>{escape(say("Queues"))}</h2><form id="find" role="search" action="/">{hidden}'
        f'<input id="search" name="q" type="search" maxlength="200" value="{escape(query.search)}" '
        f'placeholder="{escape(say("queue or prefix"))}" aria-label="{escape(say("Search"))}" '
        f'aria-keyshortcuts="/" autocomplete="off"><noscript><button>{escape(say("Search"))}</button>'
        "</noscript></form>"
    )


def queue_table(state: View, query: PageQuery) -> str:
    """One page of the queues that were searched for."""
    say, unread = query.say, state["unread"]
    found = [one for one in state["queues"] if _has(one, query.search)]
    lost = [one for one in unread if _has(one, query.search)]
    ordered = _sorted(found, query.sort)
    rows = [*lost, *ordered]
    pages = max(1, -(-len(rows) // ROWS))
    page = min(max(1, query.page), pages)
    shown = rows[(page - 1) * ROWS : page * ROWS]
    known = len(state["queues"]) + len(unread)
    if not rows:
        text = say("No queue is called so.") if known else say("No queue was found yet.")
        return section("queues", "", f'<p class="card">{escape(text)}</p>')
    first = (page - 1) * ROWS + 1
    told = f"{first} - {first + len(shown) - 1} {say('of')} {count(len(rows))} {say('queues')}"
    body = [_unread(one, query) if "why" in one else _queue(one, query) for one in shown]
    return section(
        "queues",
        "",
        table("queues", _head(query), body) + f'<p class="dim pages" aria-live="polite">{escape(told)} '
        f"{_pages(page, pages, query)}</p>",
    )


def _head(query: PageQuery) -> list[tuple[str, Any]]:
    titles = {"name": "Queue"} | {name: title for name, (title, _, _) in _FIGURES.items()}
    return [
        (
            f'<a data-go href="{escape(query.url(sort=name, page=1))}"'
            + (
                f' aria-sort="{"ascending" if name == "name" else "descending"}"'
                if name == query.sort
                else ""
            )
            + f">{escape(query.say(title))}</a>",
            "text" if name == "name" else "number",
        )
        for name, title in titles.items()
    ]


def _queue(one: View, query: PageQuery) -> str:
    cells = [(_name(one, query), "name")]
    for _, value, told in _FIGURES.values():
        number = value(one)
        cells.append(("" if number is None else escape(told(number)), "number"))
    return row(cells)


def _unread(one: View, query: PageQuery) -> str:
    why = f'<span class="critical">{escape(query.say("cannot be read"))}</span>: {escape(one["why"])}'
    return f'<tr><td class="name">{_title(one)}</td><td class="why" colspan="{len(_FIGURES)}">{why}</td></tr>'


def _name(one: View, query: PageQuery) -> str:
    paused = f' <span class="badge warning">{escape(query.say("paused"))}</span>' if one["paused"] else ""
    return _title(one) + paused


def _title(one: View) -> str:
    prefix = "" if one["prefix"] == "bull" else f'<span class="dim">{escape(one["prefix"])}:</span>'
    return prefix + escape(one["name"])


def _pages(page: int, pages: int, query: PageQuery) -> str:
    links = []
    if page > 1:
        links.append(_link("Previous", page - 1, query))
    if page < pages:
        links.append(_link("Next", page + 1, query))
    return " · ".join(links)


def _link(text: str, page: int, query: PageQuery) -> str:
    return f'<a data-go href="{escape(query.url(page=page))}">{escape(query.say(text))}</a>'


def _has(one: View, search: str) -> bool:
    return search.casefold() in f"{one['prefix']}:{one['name']}".casefold()


def _sorted(queues: Sequence[View], sort: str) -> list[View]:
    """By name, or by a figure with the largest first and what is not known last."""
    named = sorted(queues, key=lambda one: (one["name"], one["prefix"]))
    if sort not in _FIGURES:
        return named
    value = _FIGURES[sort][1]

    def rank(one: View) -> tuple[bool, float]:
        number = value(one)
        return number is None, -(number or 0.0)

    return sorted(named, key=rank)
