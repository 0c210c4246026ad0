"""The exporter's HTTP paths. /metrics and the health paths are public; the other paths require a key if one
is set, and the API always does."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Annotated, Final, Protocol

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse

from exporter.api.forward import ScalerClient
from exporter.api.routes import MonitoringControl, make_monitoring_api
from exporter.bullmq.busy import BusyJobs
from exporter.views import status_view
from exporter.web.open_paths import OpenService, open_routes
from exporter.web.status_page import PageSource, add_status_page
from service.api.auth import ApiKeyAuth
from service.api.endpoint import add_api, check_access
from service.api.openapi import ABOUT, described
from service.api.session import Sessions
from service.clock import Deadline
from service.outcome import UnreadableError
from service.turns.in_turn import RequestTurns
from service.web.common_paths import Route, add_routes, deadline_of

_NO_STORE: Final = {"cache-control": "no-store"}
_THREADS: Final = 16  # of the page and its data; scrapes and the API have their own


class ExporterService(OpenService, PageSource, MonitoringControl, Protocol):
    """The part of the exporter that the paths use."""

    def busy(self, prefix: str, names: Iterable[str], deadline: Deadline) -> BusyJobs:
        """Active jobs by worker. Raises UnreadableError."""


def make_exporter_app(exporter: ExporterService, auth: ApiKeyAuth, scaler: ScalerClient) -> FastAPI:
    """What collects runs in threads; the health paths never wait for it."""
    app = FastAPI(
        title="Oxherd exporter",
        description=ABOUT,
        version=exporter.about().version,
        openapi_url=None,  # add_api serves it; /docs and /redoc of FastAPI load assets from another origin
        docs_url=None,
        redoc_url=None,
    )
    sessions = Sessions(lambda: auth.changes)
    turns = RequestTurns(_THREADS)

    async def status(request: Request) -> JSONResponse:
        """The state that the page and the commands show, collected now."""
        if (refusal := check_access(auth, request, sessions)) is not None:
            return refusal
        deadline = deadline_of(request)
        return await turns.run(
            request,
            lambda: JSONResponse(status_view(exporter.assess(deadline), exporter.about()), headers=_NO_STORE),
            deadline,
        )

    async def busy(prefix: str, queue: Annotated[list[str], Query()], request: Request) -> JSONResponse:
        """Active jobs by the name of their worker; 404 for unknown queues."""
        if (refusal := check_access(auth, request, sessions)) is not None:
            return refusal
        try:
            deadline = deadline_of(request)
            jobs = await turns.run(request, lambda: exporter.busy(prefix, queue, deadline), deadline)
        except UnreadableError as error:
            missing = error.kind == "not_found"
            status = HTTPStatus.NOT_FOUND if missing else HTTPStatus.SERVICE_UNAVAILABLE
            return JSONResponse({"error": str(error)}, status_code=status, headers=_NO_STORE)
        content = {
            "queues": [queue_id.name for queue_id in jobs.queues],
            "workers": dict(jobs.jobs),
            "unnamed": jobs.unnamed,
            "cut_off": jobs.cut_off,
        }
        return JSONResponse(content, headers=_NO_STORE)

    add_routes(
        app,
        {
            **open_routes(exporter),
            "/status.json": Route(status, responses=described(401, 429)),
            "/busy.json": Route(busy, responses=described(401, 404, 429, 503)),
        },
    )
    add_status_page(app, exporter, auth, sessions, turns)
    add_api(app, make_monitoring_api(exporter, scaler), auth)
    return app
