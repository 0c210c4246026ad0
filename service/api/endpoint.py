"""The one path of an API: GET for what is asked by `action`, POST for orders, both by key."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Annotated, Any, Final

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import Field, TypeAdapter
from starlette.exceptions import HTTPException

from service.api.auth import ApiKeyAuth, AuthError
from service.api.envelope import (
    PATH,
    ApiError,
    CommandBody,
    Failure,
    Success,
    failure,
    parse_command,
    success,
    unknown_action,
)
from service.api.reference import reference_page
from service.api.session import COOKIE, Sessions

log = logging.getLogger(__name__)

_LARGEST: Final = 64 << 10
_NO_STORE: Final = {"cache-control": "no-store"}
_DOCS_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True)
class ApiRequest:
    """A request that was let in. `key` is what it came with, for another process that it is forwarded to."""

    action: str
    query: Mapping[str, str]
    body: Mapping[str, Any]
    key: str
    by: str


@dataclass(frozen=True)
class Query:
    """An action of GET: what it tells, and the model of its data."""

    summary: str
    model: Any
    answer: Callable[[ApiRequest], Any]


@dataclass(frozen=True)
class Command:
    """An action of POST: what it does, the models of its body and of its data."""

    summary: str
    body: Any
    model: Any
    answer: Callable[[ApiRequest, Any], Any]


@dataclass(frozen=True)
class Api:
    """`overall` answers where no action is named. `query`: further parameters of GET, and what they are."""

    queries: Mapping[str, Query]
    commands: Mapping[str, Command]
    overall: Query | None = None
    query: Mapping[str, str] | None = None


ABOUT: Final = f"""`GET {PATH}?action=ACTION` asks; `POST {PATH}` orders by a JSON body with an `action`.
The key is `CRON_API_KEY` (or `CRON_API_KEY_FILE`) of this process, sent in one of these ways:
- `Authorization: Bearer KEY`
- `X-API-Key: KEY`
- `?apiKey=KEY`, or `apiKey` in the body
`CRON_API_READ_KEY` may ask and not order. Where no key is set every request to the API gets 503.
An answer is `{{"success": true, "data": ..., "timestamp": "..."}}` or `{{"success": false, "error": "..."}}`.
Keys are camelCase. Bytes, seconds (moments since 1970), ratios from 0 to 1; null is what could not be known.
"""


def add_api(app: FastAPI, api: Api, auth: ApiKeyAuth) -> None:
    """The path, its errors as envelopes, and /docs, which loads nothing."""
    kinds = _one_of([one.body for one in api.commands.values()])
    bodies: TypeAdapter[Any] = TypeAdapter(Annotated[kinds, Field(discriminator="action")])  # type: ignore[arg-type]

    async def ask(request: Request) -> JSONResponse:
        try:
            key = auth.authorize(_presented(request, {}), _address(request))
            asked = ApiRequest(
                request.query_params.get("action", ""), dict(request.query_params), {}, key, ""
            )
            query = api.queries.get(asked.action)
            if not asked.action:
                query = api.overall
            if query is None:
                raise ApiError(400, unknown_action(asked.action or None, tuple(api.queries)))  # noqa: TRY301
            return _given(await run_in_threadpool(query.answer, asked))
        except (ApiError, AuthError) as error:
            return _refusal(error)

    async def order(request: Request) -> JSONResponse:
        try:
            raw = await _body(request)
            body = _json(raw)
            key = auth.authorize(_presented(request, body), _address(request), changes=True)
            if isinstance(body, _InvalidJson):
                raise ApiError(400, "the body should be JSON")  # noqa: TRY301
            given = parse_command(bodies, tuple(api.commands), body)
            asked = ApiRequest(given.action, {}, body, key, _address(request))
            log.info(
                "order by the API",
                extra={"action": asked.action, "address": asked.by, "order": _as_logged(given)},
            )
            return _given(await run_in_threadpool(api.commands[asked.action].answer, asked, given))
        except (ApiError, AuthError) as error:
            return _refusal(error)

    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": Failure, "description": text} for status, text in _REFUSALS.items()
    }
    asking = [*api.queries.values(), *([api.overall] if api.overall else [])]
    given: dict[int | str, dict[str, Any]] = {
        200: {"model": _one_of([Success.__class_getitem__(one.model) for one in asking])}
    }
    ordered: dict[int | str, dict[str, Any]] = {
        200: {"model": _one_of([Success.__class_getitem__(one.model) for one in api.commands.values()])}
    }
    app.get(
        PATH,
        summary="Ask",
        operation_id="ask",
        description=_listed(api.queries, api.overall),
        response_model=None,
        responses=given | refusals,
        openapi_extra={"parameters": _parameters(api), "security": _SECURITY},
    )(ask)
    app.post(
        PATH,
        summary="Order",
        operation_id="order",
        description=_listed(api.commands, None),
        response_model=None,
        responses=ordered | refusals,
        openapi_extra={"security": _SECURITY},
    )(order)
    app.exception_handler(HTTPException)(_as_envelope)
    _with_bodies(app, bodies)

    async def docs() -> HTMLResponse:
        """The API in words; loads nothing from anywhere."""
        return HTMLResponse(reference_page(app.openapi()), headers=_DOCS_HEADERS)

    app.get("/docs", response_class=HTMLResponse, include_in_schema=False)(docs)


def described(*statuses: int, content: str = "") -> dict[int | str, dict[str, Any]]:
    """What a path beside the API answers but for JSON with 200, for its description."""
    told: dict[int | str, dict[str, Any]] = {
        status: {"description": _REFUSALS.get(status, "Not now."), "content": {"application/json": {}}}
        for status in statuses
    }
    if content:
        told[200] = {"description": "OK", "content": {one: {} for one in content.split()}}
    return told


def refusal(auth: ApiKeyAuth, request: Request, sessions: Sessions | None = None) -> JSONResponse | None:
    """The answer to a request for data beside the API, which is open where no key is set; None: go on."""
    if not auth.configured or (sessions and sessions.holds(request.cookies.get(COOKIE))):
        return None
    try:
        auth.authorize(_presented(request, {}), _address(request))
    except AuthError as error:
        return _refusal(error)
    return None


# --- a request -------------------------------------------------------------------------------------------


class _InvalidJson:
    """A body that is no JSON."""


async def _body(request: Request) -> bytes:
    """Raises ApiError 413: it is refused before it is held."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > _LARGEST:
            raise ApiError(413, f"the body is larger than {_LARGEST >> 10} KiB")
        parts.append(part)
    return b"".join(parts)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return _InvalidJson()


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _presented(request: Request, body: object) -> list[str]:
    """The keys that a request carries, wherever clients put them: a proxy may have added one of its own."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    in_body = body.get("apiKey") if isinstance(body, dict) else None
    return [
        bearer.strip() if scheme.lower() == "bearer" else "",
        request.headers.get("x-api-key", ""),
        request.query_params.get("apiKey", ""),
        in_body if isinstance(in_body, str) else "",
    ]


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _as_logged(order: CommandBody) -> str:
    """What it says, as JSON; of what is only passed on nothing: a key may be there under another name."""
    known = set(type(order).model_fields) - {"action", "api_key"}
    return order.model_dump_json(by_alias=True, include=known, exclude_unset=True)


# --- an answer -------------------------------------------------------------------------------------------


def _given(data: Any) -> JSONResponse:
    """Data in its envelope; what another process answered is an envelope already."""
    if isinstance(data, JSONResponse):
        return data
    return JSONResponse(success(data), headers=_NO_STORE)


def passed_on(status: int, envelope: Mapping[str, Any]) -> JSONResponse:
    """What another process answered, as it is."""
    return JSONResponse(dict(envelope), status_code=status, headers=_NO_STORE)


def _refusal(error: ApiError | AuthError) -> JSONResponse:
    headers = dict(_NO_STORE)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, AuthError) and error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    return JSONResponse(failure(str(error)), status_code=error.status, headers=headers)


async def _as_envelope(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    if request.url.path.startswith("/api"):
        return JSONResponse(
            failure(error.detail), status_code=error.status_code, headers=dict(error.headers or {})
        )
    return JSONResponse(
        {"detail": error.detail}, status_code=error.status_code, headers=dict(error.headers or {})
    )


# --- the description -------------------------------------------------------------------------------------

_REFUSALS: Final[Mapping[int | str, str]] = {
    400: "The request is not right; `error` says what is.",
    401: "No key, or a wrong one.",
    404: "There is no such queue.",
    403: "The key may read only.",
    409: "Monitoring is switched off: there is nothing to tell.",
    413: "The body is too large.",
    429: "Too many wrong keys; `Retry-After` says how long to wait.",
    502: "The other process gave no usable answer.",
    503: "No key is set, or what is asked for could not be read.",
    504: "The other process did not answer in time.",
}

_SECURITY: Final[list[dict[str, list[str]]]] = [{"bearer": []}, {"header": []}, {"query": []}]


def _one_of(models: list[Any]) -> Any:
    return reduce(or_, dict.fromkeys(models))


def _listed(actions: Mapping[str, Query | Command], overall: Query | None) -> str:
    lines = [f"- `{name}`: {one.summary}" for name, one in actions.items()]
    return "\n".join([*([f"- without an action: {overall.summary}"] if overall else []), *lines])


def _parameters(api: Api) -> list[dict[str, Any]]:
    action = {
        "name": "action",
        "in": "query",
        "required": api.overall is None,
        "description": "what is asked for",
        "schema": {"type": "string", "enum": list(api.queries)},
    }
    others = [
        {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in (api.query or {}).items()
    ]
    return [action, *others]


def _with_bodies(app: FastAPI, bodies: TypeAdapter[Any]) -> None:
    """The body is read before it is declared, so that a key comes before all else: its schema is added."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        spec: dict[str, Any] = made()
        schema = bodies.json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
        components = spec.setdefault("components", {})
        components.setdefault("schemas", {}).update(schema.pop("$defs", {}))
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "query": {"type": "apiKey", "in": "query", "name": "apiKey"},
        }
        content = {"application/json": {"schema": schema}}
        spec["paths"][PATH]["post"]["requestBody"] = {"required": True, "content": content}
        app.openapi_schema = spec
        return spec

    app.openapi = openapi  # type: ignore[method-assign]
