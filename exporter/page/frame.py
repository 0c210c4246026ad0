"""The document around the page's parts, and the sign-in form that stands in its place. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

from service.i18n import LANGUAGES, Language, Words, words

LINKS = {
    "/metrics": "for Prometheus",
    "/status.json": "this page as data",
    "/docs": "the API",
    "/healthz": "alive",
    "/readyz": "ready",
}


@dataclass(frozen=True, slots=True)
class PageQuery:
    """What a person asked to see: the queues that have `search` in their names, a page of them from 1, an
    order; `signed_in`: there is a session to end."""

    search: str = ""
    page: int = 1
    sort: str = "waiting"
    language: Language = "en"
    chosen: bool = False  # the language, by hand
    signed_in: bool = False

    @property
    def say(self) -> Words:
        return words(self.language)

    def url(self, **changed: object) -> str:
        """The page with other wishes; what is as it would be anyway is left out. Not escaped."""
        wished = {
            "q": self.search,
            "page": self.page,
            "sort": self.sort,
            "lang": self.language if self.chosen else "",
        }
        wished |= changed
        usual = {"q": "", "page": 1, "sort": "waiting", "lang": ""}
        query = urlencode({name: value for name, value in wished.items() if value != usual[name]})
        return f"/?{query}" if query else "/"


def document(title: str, body: Iterable[str], query: PageQuery) -> str:
    """The whole of it. What reloads without the script is a browser without scripts."""
    content = "\n".join(filter(None, body))
    refresh = '<noscript><meta http-equiv="refresh" content="15"></noscript>'
    return (
        f'<!doctype html>\n<html lang="{query.language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{refresh}\n<title>{escape(title)}</title>\n"
        '<link rel="icon" href="data:,"><link rel="stylesheet" href="/page.css">\n'
        '<script src="/page.js" defer></script>\n</head>\n'
        f"<body>\n<main>\n{content}\n</main>\n</body>\n</html>\n"
    )


def sign_in(query: PageQuery, problem: str = "") -> str:
    """The page's shell: nothing of what is watched, but a way in."""
    say = query.say
    told = f'<p class="critical" role="alert">{escape(say(problem))}</p>' if problem else ""
    form = (
        f'<form class="card" method="post" action="/sign-in"><p>'
        f"{escape(say('This page asks for the key of the API.'))}</p>{told}"
        f'<label>{escape(say("Key"))} <input name="key" type="password" autocomplete="current-password" '
        f"required autofocus></label><button>{escape(say('Sign in'))}</button></form>"
    )
    return document("Oxherd", ["<header><h1>Oxherd</h1></header>", form, links(query, closed=True)], query)


def links(query: PageQuery, *, closed: bool = False) -> str:
    """Where else to look, and the other languages."""
    say = query.say
    shown = {path: what for path, what in LINKS.items() if not (closed and path == "/status.json")}
    parts = [
        f'<span><a href="{path}">{path}</a> <small>{escape(say(what))}</small></span>'
        for path, what in shown.items()
    ]
    parts += [
        f'<a href="{escape(query.url(lang=code))}" lang="{code}" hreflang="{code}">{escape(name)}</a>'
        for code, name in LANGUAGES.items()
        if code != query.language
    ]
    out = ""
    if query.signed_in:
        out = f'<form method="post" action="/sign-out"><button>{escape(say("Sign out"))}</button></form>'
    return f"<nav>{''.join(parts)}{out}</nav>"


def section(name: str, title: str, content: str) -> str:
    """A part that the script replaces as a whole."""
    heading = f"<h2>{escape(title)}</h2>\n" if title else ""
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
