"""The scaler's HTTP paths. Open to all: they tell no more than metrics and health do, and change nothing."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from scaler.views import View
from service.negotiate import CONTENT_TYPES, Format, gzip_wanted, metrics_format


class Answers(Protocol):
    """What the paths need of the scaler. None of it waits for anything."""

    def status(self) -> View:
        """The last step as plain data."""

    def exposition(self, form: Format) -> bytes:
        """The series, as of the last step."""

    def why_not_ready(self) -> list[str]:
        """What does not work, a line each."""


def make_app(answers: Answers, version: str) -> FastAPI:
    """Every answer is of the last step, so that asking costs nothing."""
    app = FastAPI(title="Oxherd scaler", version=version, docs_url=None, redoc_url=None)

    def metrics(request: Request) -> Response:
        """The exposition, in text format 0.0.4 or OpenMetrics 1.0."""
        form = metrics_format(request.headers.get("accept"))
        body = answers.exposition(form)
        headers = {"content-type": CONTENT_TYPES[form], "vary": "Accept, Accept-Encoding"}
        if gzip_wanted(request.headers.get("accept-encoding")):
            body = gzip.compress(body, compresslevel=1, mtime=0)
            headers["content-encoding"] = "gzip"
        return Response(body, headers=headers)

    def status() -> JSONResponse:
        """What `scaling status` shows."""
        return JSONResponse(dict(answers.status()), headers={"cache-control": "no-store"})

    async def healthz() -> dict[str, str]:
        """The process is alive and answers."""
        return {"status": "alive"}

    async def readyz() -> JSONResponse:
        """A first step is done, and steps go on. Not: Prometheus or a target is well."""
        reasons = answers.why_not_ready()
        ready = {"status": "not ready" if reasons else "ready", "reasons": reasons}
        return JSONResponse(ready, status_code=503 if reasons else 200)

    paths: dict[str, Callable[..., Any]] = {
        "/metrics": metrics,
        "/status.json": status,
        "/healthz": healthz,
        "/readyz": readyz,
    }
    for path, handler in paths.items():
        app.get(path, response_model=None)(handler)
        app.head(path, response_model=None, include_in_schema=False)(handler)
    return app
