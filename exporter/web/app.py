"""The HTTP paths. /metrics and the health paths are open to all; what else tells something asks for a key
where one is set, and the API in any case."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final, Protocol

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse

from exporter.api.forward import ScalerClient
from exporter.api.routes import make_monitoring_api
from exporter.bullmq.busy import BusyJobs
from exporter.switch import Monitoring
from exporter.views import status_view
from exporter.web import status_page as pages
from service.api.auth import ApiKeyAuth
from service.api.endpoint import ABOUT, add_api, described, refusal
from service.api.session import Sessions
from service.clock import Deadline
from service.outcome import UnreadableError
from service.web.negotiate import CONTENT_TYPES, MetricsFormat, gzip_wanted, metrics_format, scrape_seconds

_TIMEOUT: Final = "x-prometheus-scrape-timeout-seconds"


class ExporterService(pages.PageSource, Protocol):
    """What the paths need of the exporter."""

    def exposition(self, form: MetricsFormat, deadline: Deadline) -> bytes:
        """Collect, and the whole text for Prometheus."""

    def busy(self, prefix: str, names: Iterable[str], deadline: Deadline) -> BusyJobs:
        """Who has a job in hand. Raises UnreadableError."""

    def why_not_ready(self) -> list[str]:
        """Without I/O and without waiting: it is asked on the event loop."""

    def monitoring(self) -> Monitoring:
        """Whether there is monitoring now."""

    def monitor(self, *, on: bool, interval_minutes: float | None) -> Monitoring:
        """Switch it."""


def make_exporter_app(exporter: ExporterService, auth: ApiKeyAuth, scaler: ScalerClient) -> FastAPI:
    """Handlers that collect are `def`, run in a pool of threads; the health paths never wait behind them."""
    app = FastAPI(
        title="Oxherd exporter",
        description=ABOUT,
        version=exporter.about().version,
        docs_url=None,  # both pages load from elsewhere
        redoc_url=None,
    )

    sessions = Sessions()

    def metrics(request: Request) -> Response:
        """The exposition, in text format 0.0.4 or OpenMetrics 1.0."""
        form = metrics_format(request.headers.get("accept"))
        body = exporter.exposition(form, _deadline(request))
        headers = {"content-type": CONTENT_TYPES[form], "vary": "Accept, Accept-Encoding"}
        if gzip_wanted(request.headers.get("accept-encoding")):
            body = gzip.compress(body, compresslevel=1, mtime=0)
            headers["content-encoding"] = "gzip"
        return Response(body, headers=headers)

    async def healthz() -> dict[str, str]:
        """The process is alive and answers."""
        return {"status": "alive"}

    async def readyz() -> JSONResponse:
        """A first collection is done and the background threads are at work. Not: Redis is up."""
        reasons = exporter.why_not_ready()
        ready = {"status": "not ready" if reasons else "ready", "reasons": reasons}
        return JSONResponse(ready, status_code=503 if reasons else 200)

    def status(request: Request) -> JSONResponse:
        """What the page and the commands show, collected now."""
        if (refused := refusal(auth, request, sessions)) is not None:
            return refused
        view = status_view(exporter.assess(_deadline(request)), exporter.about())
        return JSONResponse(view, headers={"cache-control": "no-store"})

    def busy(prefix: str, queue: Annotated[list[str], Query()], request: Request) -> JSONResponse:
        """Active jobs by the names of the workers that have them; 404 for queues that are not known."""
        if (refused := refusal(auth, request, sessions)) is not None:
            return refused
        headers = {"cache-control": "no-store"}
        try:
            found = exporter.busy(prefix, queue, _deadline(request))
        except UnreadableError as error:
            status = 404 if error.kind == "not_found" else 503
            return JSONResponse({"error": str(error)}, status_code=status, headers=headers)
        return JSONResponse(
            {
                "queues": [one.name for one in found.queues],
                "workers": dict(found.jobs),
                "unnamed": found.unnamed,
                "cut_off": found.cut_off,
            },
            headers=headers,
        )

    paths: dict[str, tuple[Callable[..., Any], type[Response], dict[int | str, dict[str, Any]]]] = {
        "/metrics": (metrics, Response, described(content="text/plain application/openmetrics-text")),
        "/status.json": (status, JSONResponse, described(401, 429)),
        "/busy.json": (busy, JSONResponse, described(401, 404, 429, 503)),
        "/healthz": (healthz, JSONResponse, {}),
        "/readyz": (readyz, JSONResponse, described(503)),
    }
    for path, (handler, kind, others) in paths.items():
        app.get(path, response_class=kind, response_model=None, responses=others)(handler)
        app.head(path, response_class=kind, response_model=None, include_in_schema=False)(handler)
    pages.add_page(app, exporter, auth, sessions, _deadline)
    add_api(app, make_monitoring_api(exporter, scaler), auth)
    return app


def _deadline(request: Request) -> Deadline:
    return Deadline.after(scrape_seconds(request.headers.get(_TIMEOUT)))
