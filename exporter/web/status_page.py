"""The paths of the status page: the page, its assets, and signing in and out if a key is set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from exporter.assessment import Assessment
from exporter.history import Point
from exporter.page import status_page
from exporter.page.assets import POLICY, SCRIPT, STYLE
from exporter.page.frame import PageQuery, sign_in
from exporter.page.queues import SORTS
from exporter.peers.model import Peers
from exporter.views import About, status_view
from service.api.auth import ApiKeyAuth, AuthError
from service.api.endpoint import client_address
from service.api.session import COOKIE, SESSION_SECONDS, Sessions
from service.catalogs import TRANSLATORS
from service.clock import Deadline, now
from service.i18n import LANGUAGES, Message, preferred
from service.turns.in_turn import RequestTurns
from service.web.common_paths import deadline_of

_HEADERS: Final = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "vary": "Accept-Language, Cookie",
}
_MAX_FORM_BYTES: Final = 4096


class PageSource(Protocol):
    """The part of the exporter that the page uses."""

    def assess(self, deadline: Deadline) -> Assessment | None:
        """Collect and assess; None while monitoring is off."""

    def about(self) -> About:
        """The exporter itself."""

    def history(self) -> Sequence[Point]:
        """The last hour."""

    def peers(self) -> Peers:
        """The last responses of Prometheus and the scaler."""


def add_status_page(
    app: FastAPI,
    exporter: PageSource,
    auth: ApiKeyAuth,
    sessions: Sessions,
    turns: RequestTurns,
) -> None:
    """/, /page.css, /page.js, /sign-in and /sign-out."""

    async def page(request: Request) -> HTMLResponse:
        """The status page, collected now; the sign-in form if a key is set and the browser has no session."""
        signed_in = sessions.holds(request.cookies.get(COOKIE))
        query = page_query_of(
            request.query_params, request.headers.get("accept-language"), signed_in=signed_in
        )
        if auth.configured and not signed_in:
            return HTMLResponse(sign_in(query), headers=_HEADERS)
        deadline = deadline_of(request)

        def drawn() -> HTMLResponse:
            view = status_view(exporter.assess(deadline), exporter.about())
            text = status_page(view, query, history=exporter.history(), peers=exporter.peers(), now=now())
            return HTMLResponse(text, headers=_HEADERS)

        return await turns.run(request, drawn, deadline)

    async def authorize(request: Request) -> Response:
        """Start a session if the key is valid."""
        query = page_query_of({}, request.headers.get("accept-language"))
        raw = b""
        async for part in request.stream():
            raw += part
            if len(raw) > _MAX_FORM_BYTES:
                return HTMLResponse(sign_in(query, Message("page.invalid_key")), 413, headers=_HEADERS)
        key = parse_qs(raw.decode("latin-1")).get("key", [""])[0]
        try:
            auth.authorize([key.strip()], client_address(request))
        except AuthError as error:
            problem = Message("page.too_many_invalid_keys" if error.status == 429 else "page.invalid_key")
            return HTMLResponse(sign_in(query, problem), error.status, headers=_HEADERS)
        response = RedirectResponse("/", 303, headers=_HEADERS)
        secure = request.url.scheme == "https"
        response.set_cookie(
            COOKIE, sessions.begin(), max_age=SESSION_SECONDS, httponly=True, samesite="strict", secure=secure
        )
        return response

    async def leave(request: Request) -> Response:
        """End the session."""
        sessions.end(request.cookies.get(COOKIE))
        response = RedirectResponse("/", 303, headers=_HEADERS)
        response.delete_cookie(COOKIE)
        return response

    async def style() -> Response:
        """The page's style sheet."""
        return Response(STYLE, media_type="text/css", headers=_ASSETS)

    async def script() -> Response:
        """The page's script."""
        return Response(SCRIPT, media_type="text/javascript", headers=_ASSETS)

    for method in (app.get, app.head):
        method("/", response_class=HTMLResponse, response_model=None, include_in_schema=method == app.get)(
            page
        )
    for path, handler in {"/page.css": style, "/page.js": script}.items():
        app.get(path, response_model=None, include_in_schema=False)(handler)
    app.post("/sign-in", response_model=None, include_in_schema=False)(authorize)
    app.post("/sign-out", response_model=None, include_in_schema=False)(leave)


_ASSETS: Final = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}


def page_query_of(query: Any, accept_language: str | None, *, signed_in: bool = False) -> PageQuery:
    """The query parameters; an invalid value is replaced by its default."""
    language = next((code for code in LANGUAGES if code == query.get("lang", "")), None)
    sort, page = query.get("sort", ""), query.get("page", "")
    return PageQuery(
        search=query.get("q", "").strip()[:200],
        page=int(page) if page.isascii() and page.isdigit() and len(page) < 7 else 1,
        sort=sort if sort in SORTS else "waiting",
        translator=TRANSLATORS[language or preferred(accept_language)],
        chosen=language is not None,
        signed_in=signed_in,
    )
