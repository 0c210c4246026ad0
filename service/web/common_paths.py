"""The paths that both processes serve without a key: /metrics, /healthz, /readyz."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from service.api.openapi import described
from service.clock import Deadline
from service.turns.arrival import arrival_of
from service.turns.in_turn import LateError
from service.turns.shared_answers import AnswerError, SharedAnswers
from service.web.body import Body
from service.web.negotiate import CONTENT_TYPES, MetricsFormat, accepts_gzip, metrics_format, scrape_seconds

if TYPE_CHECKING:
    from fastapi import FastAPI

_TIMEOUT_HEADER: Final = "x-prometheus-scrape-timeout-seconds"


class Route(NamedTuple):
    """A handler of GET and HEAD, the class of its response, and its further responses for the description."""

    handler: Callable[..., Any]
    response: type[Response] = JSONResponse
    responses: Mapping[int | str, dict[str, Any]] = {}


def deadline_of(request: Request) -> Deadline:
    """When the answer has to be there: from its arrival the scrape's time-out, of its header."""
    return Deadline(arrival_of(request.scope).at + scrape_seconds(request.headers.get(_TIMEOUT_HEADER)))


def metrics_route(exposition: Callable[[MetricsFormat, Deadline], Body], *, protobuf: bool = False) -> Route:
    """/metrics of this body, in the format and coding that the request prefers; `protobuf`: in that too.

    It is made in threads of its own, once for all that ask at the same time.
    """
    answers = SharedAnswers()

    async def metrics(request: Request) -> Response:
        form = metrics_format(request.headers.get("accept"), protobuf=protobuf)
        gzip = accepts_gzip(request.headers.get("accept-encoding"))

        def make(own: Deadline) -> bytes:
            body = exposition(form, own)
            return body.gzip() if gzip else body.plain()

        try:
            content = await answers.get(request, (form, gzip), deadline_of(request), make)
        except LateError as error:
            arrival_of(request.scope).refuse("late")
            return PlainTextResponse(f"{error}\n", HTTPStatus.SERVICE_UNAVAILABLE)
        except AnswerError:
            return PlainTextResponse("Internal Server Error\n", HTTPStatus.INTERNAL_SERVER_ERROR)
        headers = {"content-type": CONTENT_TYPES[form], "vary": "Accept, Accept-Encoding"}
        return Response(content, headers=headers | ({"content-encoding": "gzip"} if gzip else {}))

    metrics.__doc__ = "The exposition, in text format 0.0.4 or OpenMetrics 1.0"
    metrics.__doc__ += ", or in delimited protobuf." if protobuf else "."
    types = "text/plain application/openmetrics-text" + " application/vnd.google.protobuf" * protobuf
    return Route(metrics, Response, described(content=types))


def health_routes(why_not_ready: Callable[[], list[str]], *, ready_means: str) -> dict[str, Route]:
    """/healthz and /readyz, on the event loop: they never wait behind handlers that collect.

    `why_not_ready` neither waits nor does I/O.
    """

    async def healthz(_: Request) -> JSONResponse:
        """The process is alive and answers."""
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> JSONResponse:
        reasons = why_not_ready()
        content = {"status": "not ready" if reasons else "ready", "reasons": reasons}
        return JSONResponse(content, status_code=HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK)

    readyz.__doc__ = ready_means
    return {"/healthz": Route(healthz), "/readyz": Route(readyz, responses=described(503))}


def add_routes(app: FastAPI, routes: Mapping[str, Route]) -> None:
    """GET and HEAD of each path."""
    for path, (handler, response, responses) in routes.items():
        app.get(path, response_class=response, response_model=None, responses=dict(responses))(handler)
        app.head(path, response_class=response, response_model=None, include_in_schema=False)(handler)
