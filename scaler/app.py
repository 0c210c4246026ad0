"""The scaler's HTTP paths. /metrics and the health paths are open to all; /status.json asks for a key where
one is set, and the API in any case."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from scaler.api import routes
from service.api.auth import ApiKeyAuth
from service.api.endpoint import ABOUT, add_api, described, refusal
from service.web.negotiate import CONTENT_TYPES, MetricsFormat, gzip_wanted, metrics_format


class ScalerService(routes.ScalerControl, Protocol):
    """What the paths need of the scaler. But for orders, none of it waits for anything."""

    def exposition(self, form: MetricsFormat) -> bytes:
        """The series, as of the last step."""

    def why_not_ready(self) -> list[str]:
        """What does not work, a line each."""


def make_scaler_app(scaler: ScalerService, auth: ApiKeyAuth, version: str) -> FastAPI:
    """Every answer is of the last step, so that asking costs nothing."""
    app = FastAPI(title="Oxherd scaler", description=ABOUT, version=version, docs_url=None, redoc_url=None)

    def metrics(request: Request) -> Response:
        """The exposition, in text format 0.0.4 or OpenMetrics 1.0."""
        form = metrics_format(request.headers.get("accept"))
        body = scaler.exposition(form)
        headers = {"content-type": CONTENT_TYPES[form], "vary": "Accept, Accept-Encoding"}
        if gzip_wanted(request.headers.get("accept-encoding")):
            body = gzip.compress(body, compresslevel=1, mtime=0)
            headers["content-encoding"] = "gzip"
        return Response(body, headers=headers)

    def status(request: Request) -> JSONResponse:
        """What `scaling status` shows."""
        if (refused := refusal(auth, request)) is not None:
            return refused
        return JSONResponse(dict(scaler.status()), headers={"cache-control": "no-store"})

    async def healthz() -> dict[str, str]:
        """The process is alive and answers."""
        return {"status": "alive"}

    async def readyz() -> JSONResponse:
        """A first step is done, and steps go on. Not: Prometheus or a target is well."""
        reasons = scaler.why_not_ready()
        ready = {"status": "not ready" if reasons else "ready", "reasons": reasons}
        return JSONResponse(ready, status_code=503 if reasons else 200)

    paths: dict[str, tuple[Callable[..., Any], dict[int | str, dict[str, Any]]]] = {
        "/metrics": (metrics, described(content="text/plain application/openmetrics-text")),
        "/status.json": (status, described(401, 429)),
        "/healthz": (healthz, {}),
        "/readyz": (readyz, described(503)),
    }
    for path, (handler, others) in paths.items():
        kind = Response if path == "/metrics" else JSONResponse
        app.get(path, response_class=kind, response_model=None, responses=others)(handler)
        app.head(path, response_model=None, include_in_schema=False)(handler)
    add_api(app, routes.make_scaling_api(scaler), auth)
    return app
