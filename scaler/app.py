"""The scaler's HTTP paths. /metrics and the health paths are open to all; /status.json requires a key where
one is set, and the API in any case."""

from __future__ import annotations

from typing import Protocol

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from scaler.api.routes import ScalerControl, make_scaling_api
from service.api.auth import ApiKeyAuth
from service.api.endpoint import add_api, check_access
from service.api.openapi import ABOUT, described
from service.web.body import Body
from service.web.common_paths import Route, add_routes, health_routes, metrics_route
from service.web.negotiate import MetricsFormat


class ScalerService(ScalerControl, Protocol):
    """What the paths need from the scaler. Only a command blocks."""

    def exposition(self, form: MetricsFormat) -> bytes:
        """The series, as of the last step."""

    def why_not_ready(self) -> list[str]:
        """What does not work, a line each."""


def make_scaler_app(scaler: ScalerService, auth: ApiKeyAuth, version: str) -> FastAPI:
    """Every response is that of the last step, so that requests cost nothing."""
    app = FastAPI(
        title="Oxherd scaler",
        description=ABOUT,
        version=version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )

    def status(request: Request) -> JSONResponse:
        """What `scaling status` shows."""
        if (refusal := check_access(auth, request)) is not None:
            return refusal
        return JSONResponse(dict(scaler.status()), headers={"cache-control": "no-store"})

    ready = (
        "The first step is done and steps continue. It does not mean that Prometheus or a target is healthy."
    )
    add_routes(
        app,
        {
            "/metrics": metrics_route(lambda form, _: Body([scaler.exposition(form)])),
            "/status.json": Route(status, responses=described(401, 429)),
            **health_routes(scaler.why_not_ready, ready_means=ready),
        },
    )
    add_api(app, make_scaling_api(scaler), auth)
    return app
