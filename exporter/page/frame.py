"""The document around the parts of the page, and the sign-in form that replaces it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Final
from urllib.parse import urlencode

from service.catalogs import ENGLISH
from service.i18n import LANGUAGES, Language, Message, Translator
from service.units import printable_lines

LINKS: Final[Mapping[str, str]] = {
    "/metrics": "page.link.metrics",
    "/status.json": "page.link.status",
    "/docs": "page.link.docs",
    "/healthz": "page.link.healthz",
    "/readyz": "page.link.readyz",
}
"""Paths, and the message ids of their descriptions."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The query of the page: queues with `search` in their names, the page of the table from 1, its order,
    the language; `signed_in`: the browser has a session."""

    search: str = ""
    page: int = 1
    sort: str = "waiting"
    translator: Translator = ENGLISH
    chosen: bool = False  # whether the language is a query parameter
    signed_in: bool = False

    @property
    def language(self) -> Language:
        return self.translator.language

    def url(self, **changed: object) -> str:
        """The path with changed parameters, without parameters that have their default. Not escaped."""
        parameters = {
            "q": self.search,
            "page": self.page,
            "sort": self.sort,
            "lang": self.language if self.chosen else "",
        }
        parameters |= changed
        defaults = {"q": "", "page": 1, "sort": "waiting", "lang": ""}
        query = urlencode({name: value for name, value in parameters.items() if value != defaults[name]})
        return f"/?{query}" if query else "/"


def as_html(text: str) -> str:
    """Text from anywhere, escaped for HTML; a sign that turns the direction of text is shown as its code."""
    return escape(printable_lines(text))


def document(title: str, body: Iterable[str], query: PageQuery) -> str:
    """The whole document. A browser without scripts reloads it."""
    content = "\n".join(filter(None, body))
    refresh = '<noscript><meta http-equiv="refresh" content="15"></noscript>'
    return (
        f'<!doctype html>\n<html lang="{query.language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{refresh}\n<title>{as_html(title)}</title>\n"
        '<link rel="icon" href="data:,"><link rel="stylesheet" href="/page.css">\n'
        '<script src="/page.js" defer></script>\n</head>\n'
        f"<body>\n<main>\n{content}\n</main>\n</body>\n</html>\n"
    )


def sign_in(query: PageQuery, problem: Message | None = None) -> str:
    """The sign-in form, which shows no monitored data."""
    translate = query.translator.translate
    alert = ""
    if problem is not None:
        alert = f'<p class="critical" role="alert">{as_html(query.translator.render(problem))}</p>'
    form = (
        f'<form class="card" method="post" action="/sign-in"><p>'
        f"{as_html(translate('page.key_required'))}</p>{alert}"
        f"<label>{as_html(translate('page.key'))} "
        f'<input name="key" type="password" autocomplete="current-password" '
        f"required autofocus></label><button>{as_html(translate('page.sign_in'))}</button></form>"
    )
    return document("Oxherd", ["<header><h1>Oxherd</h1></header>", form, links(query, closed=True)], query)


def links(query: PageQuery, *, closed: bool = False) -> str:
    """The exporter's other paths, and the other languages. `closed`: without paths that require the key."""
    translate = query.translator.translate
    items = [
        f'<span><a href="{path}">{path}</a> <small>{as_html(translate(title))}</small></span>'
        for path, title in LINKS.items()
        if not (closed and path == "/status.json")
    ]
    items += [
        f'<a href="{as_html(query.url(lang=code))}" lang="{code}" hreflang="{code}">{as_html(name)}</a>'
        for code, name in LANGUAGES.items()
        if code != query.language
    ]
    if query.signed_in:
        button = f"<button>{as_html(translate('page.sign_out'))}</button>"
        items.append(f'<form method="post" action="/sign-out">{button}</form>')
    return f"<nav>{''.join(items)}</nav>"


def section(name: str, title: str, content: str) -> str:
    """A part of the page that the script replaces as a whole."""
    heading = f"<h2>{as_html(title)}</h2>\n" if title else ""
    return f'<section id="{name}" data-live>{heading}{content}</section>'


def table(name: str, head: Iterable[tuple[str, str]], rows: Iterable[str], *, stack: bool = False) -> str:
    """A table that scrolls by itself where the screen is narrow. `head` and `rows` are HTML."""
    cells = "".join(f"<th{_class(align)}>{title}</th>" for title, align in head)
    kind = "card wide stack" if stack else "card wide"
    return (
        f'<div class="{kind}" id="{name}-table" tabindex="0"><table><tr>{cells}</tr>{"".join(rows)}'
        "</table></div>"
    )


def row(cells: Iterable[tuple[str, str]]) -> str:
    """Cells of HTML, each with its class."""
    return "<tr>" + "".join(f"<td{_class(kind)}>{text}</td>" for text, kind in cells) + "</tr>"


def _class(kind: str) -> str:
    names = {"text": "", "spare": "number spare"}.get(kind, kind)
    return f' class="{names}"' if names else ""
