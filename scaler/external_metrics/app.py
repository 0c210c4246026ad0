"""The HTTP paths that the aggregation layer of the API server asks. They only read, and nothing waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scaler.engines.decisions import Decisions, NoAnswer
from scaler.external_metrics.answers import (
    EXTERNAL_METRIC,
    HTTP_STATUSES,
    METRICS_GROUP,
    METRICS_VERSION,
    Located,
    group,
    metric_values,
    resource_list,
    status_failure,
)
from scaler.external_metrics.front_proxy import FrontProxy
from scaler.kube.objects import api_time
from service.web.connections.protocol import client_certificate

_ROOT: Final = f"/apis/{METRICS_GROUP}/{METRICS_VERSION}"
_LONGEST_WHY: Final = 1000  # characters
_ONLY_THE_API_SERVER: Final = "only the API server is answered, by its front proxy's certificate"


class Published(NamedTuple):
    """What was decided last, and where the targets are."""

    decisions: Decisions
    places: list[Located]


def make_external_metrics_app(
    published: Callable[[], Published],
    proxy: Callable[[], FrontProxy | None],
    count: Callable[[int], None],
    clock: Callable[[], float],
) -> Starlette:
    """`proxy`: whose client certificate is taken (None: nobody's); `count`: each answer to a question for a
    number; `clock`: that of `Decisions.ended`."""

    async def groups(_: Request) -> JSONResponse:
        return JSONResponse({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]})

    async def one_group(_: Request) -> JSONResponse:
        return JSONResponse(group())

    async def resources(_: Request) -> JSONResponse:
        return JSONResponse(resource_list())

    async def values(request: Request) -> JSONResponse:
        status, content = _values(request, published(), clock())
        count(status)
        return JSONResponse(content, status)

    async def refused(_: Request, error: Exception) -> JSONResponse:
        status, why = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
        return _failed(status, "there is no such path" if status == 404 else why)

    app = Starlette(
        routes=[
            Route("/apis", groups),
            Route(f"/apis/{METRICS_GROUP}", one_group),
            Route(_ROOT, resources),
            Route(f"{_ROOT}/namespaces/{{namespace}}/{{metric}}", values),
        ],
        exception_handlers={HTTPException: refused},
    )
    app.router.redirect_slashes = False
    app.add_middleware(_OnlyTheApiServer, proxy=proxy)
    return app


def _values(request: Request, published: Published, now: float) -> tuple[int, Mapping[str, Any]]:
    if request.path_params["metric"] != EXTERNAL_METRIC:
        return 404, status_failure(404, f"there is no such metric, only {EXTERNAL_METRIC}")
    namespace = request.path_params["namespace"]
    # The API server asks the roles of the client for the first one, where they depend on it.
    selector = next(iter(request.query_params.getlist("labelSelector")), "")
    decisions, places = published
    known = metric_values(decisions, places, namespace, selector, now=now, at=api_time(decisions.at))
    if isinstance(known, NoAnswer):
        status = HTTP_STATUSES[known.code]
        return status, status_failure(status, known.why[:_LONGEST_WHY])
    return 200, known


class _OnlyTheApiServer:
    """Its certificate was verified by TLS; whether the name is the right one is looked at here."""

    def __init__(self, app: Any, proxy: Callable[[], FrontProxy | None]) -> None:
        self._app = app
        self._proxy = proxy

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        proxy = self._proxy()
        if scope["type"] == "http" and (proxy is None or not proxy.sent(client_certificate(scope))):
            await _failed(401, _ONLY_THE_API_SERVER)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _failed(status: int, why: str) -> JSONResponse:
    return JSONResponse(status_failure(status, why), status)
