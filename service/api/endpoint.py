"""The single path of an API: GET reads by `action`, POST sends a command, both with a key."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import cache, partial
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import Field, TypeAdapter
from starlette.exceptions import HTTPException

from service.api.actions import Api, ApiRequest
from service.api.auth import ApiKeyAuth, AuthError
from service.api.envelope import (
    PATH,
    ApiError,
    CommandBody,
    failure,
    parse_command,
    success,
    unknown_action,
)
from service.api.openapi import command_description, describe_bodies, one_of, query_description
from service.api.reference import reference_page
from service.api.session import COOKIE, Sessions
from service.turns.arrival import arrival_of
from service.turns.in_turn import LateError, RequestTurns
from service.units import printable

log = logging.getLogger(__name__)

_BODY_LIMIT: Final = 64 << 10
_LONGEST_PATH: Final = 100  # characters of what was asked for, in an answer
_THREADS: Final = 32  # of this path alone: scrapes have their own
_NO_STORE: Final = {"cache-control": "no-store"}
_DOCS_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


def add_api(app: FastAPI, api: Api, auth: ApiKeyAuth) -> None:
    """Add the path, its errors as envelopes, and /docs, a page without external resources."""
    models = {action: command.body for action, command in api.commands.items()}
    union = one_of(list(models.values()))
    turns = RequestTurns(_THREADS)
    bodies: TypeAdapter[Any] = TypeAdapter(Annotated[union, Field(discriminator="action")])  # type: ignore[arg-type]

    async def query(request: Request) -> JSONResponse:
        try:
            key = auth.authorize(_presented_keys(request, {}), client_address(request))
            parameters = dict(request.query_params)
            action = parameters.get("action", "")
            described = api.queries.get(action) if action else api.overall
            if described is None:
                raise ApiError(400, unknown_action(action or None, tuple(api.queries)))  # noqa: TRY301
            request_of_action = ApiRequest(action, parameters, {}, key, client_address(request))
            answer = partial(described.answer, request_of_action)
            return _response(await turns.run(request, answer))
        except (ApiError, AuthError) as error:
            return _refusal(error)

    async def command(request: Request) -> JSONResponse:
        try:
            body = _parsed(await _body(request))
            address = client_address(request)
            key = auth.authorize(_presented_keys(request, body), address, changes=True)
            if isinstance(body, _InvalidJson):
                raise ApiError(400, "the body should be JSON")  # noqa: TRY301
            parsed = parse_command(bodies, models, body)
            log.info(
                "api command",
                extra={"action": parsed.action, "address": address, "command": _as_logged(parsed)},
            )
            sent = ApiRequest(parsed.action, {}, body, key, address)
            answer = partial(api.commands[sent.action].answer, sent, parsed)
            return _response(await turns.run(request, answer))
        except (ApiError, AuthError) as error:
            return _refusal(error)

    app.get(PATH, response_model=None, **query_description(api))(query)
    app.post(PATH, response_model=None, **command_description(api))(command)
    app.exception_handler(HTTPException)(_as_envelope)
    app.exception_handler(LateError)(_late)
    describe_bodies(app, bodies)

    _add_descriptions(app)


def _add_descriptions(app: FastAPI) -> None:
    """Both are made once, in a thread: anybody may ask for them, as often as he likes."""
    turns = RequestTurns(1)

    @cache
    def page() -> bytes:
        return reference_page(app.openapi()).encode()

    @cache
    def description() -> bytes:
        return json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()

    async def docs(request: Request) -> HTMLResponse:
        """The reference of the API, without external resources."""
        return HTMLResponse(await turns.run(request, page), headers=_DOCS_HEADERS)

    async def openapi(request: Request) -> Response:
        """The same for programs."""
        return Response(await turns.run(request, description), media_type="application/json")

    app.get("/docs", response_class=HTMLResponse, include_in_schema=False)(docs)
    app.get("/openapi.json", response_model=None, include_in_schema=False)(openapi)


def check_access(auth: ApiKeyAuth, request: Request, sessions: Sessions | None = None) -> JSONResponse | None:
    """The refusal of a request for data outside the API; None if it is allowed, as always without a key."""
    if not auth.configured or (sessions and sessions.holds(request.cookies.get(COOKIE))):
        return None
    try:
        auth.authorize(_presented_keys(request, {}), client_address(request))
    except AuthError as error:
        return _refusal(error)
    return None


# --- a request -------------------------------------------------------------------------------------------


class _InvalidJson:
    """A body that is not JSON."""


async def _body(request: Request) -> bytes:
    """Raises ApiError 413 as soon as the limit is passed."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > _BODY_LIMIT:
            raise ApiError(413, f"the body is larger than {_BODY_LIMIT >> 10} KiB")
        chunks.append(chunk)
    return b"".join(chunks)


def _parsed(raw: bytes) -> Any:
    try:
        parsed = json.loads(raw, parse_constant=_reject_constant)
        if b"\\u" in raw:
            json.dumps(parsed, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError):
        return _InvalidJson()
    return parsed


def _reject_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _presented_keys(request: Request, body: object) -> list[str]:
    """All keys of a request, wherever clients put them: a proxy may have added another."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    in_body = body.get("apiKey") if isinstance(body, dict) else None
    return [
        bearer.strip() if scheme.lower() == "bearer" else "",
        request.headers.get("x-api-key", ""),
        request.query_params.get("apiKey", ""),
        in_body if isinstance(in_body, str) else "",
    ]


def client_address(request: Request) -> str:
    """The client's address; "" if there is none, as with a Unix socket."""
    return request.client.host if request.client else ""


def _as_logged(command: CommandBody) -> str:
    """The command as JSON, without fields that are only forwarded: one may hold a key."""
    known = set(type(command).model_fields) - {"action", "api_key"}
    return command.model_dump_json(by_alias=True, include=known, exclude_unset=True)


# --- a response ------------------------------------------------------------------------------------------


def _response(data: Any) -> JSONResponse:
    """Data in its envelope; a response of another process has one already."""
    if isinstance(data, JSONResponse):
        return data
    return JSONResponse(success(data), headers=_NO_STORE)


def forwarded_response(status: int, envelope: Mapping[str, Any]) -> JSONResponse:
    """The response of another process, unchanged."""
    return JSONResponse(dict(envelope), status_code=status, headers=_NO_STORE)


async def _late(request: Request, error: Exception) -> JSONResponse:
    """On any path of the application."""
    arrival_of(request.scope).refuse("late")
    return JSONResponse(failure(str(error)), status_code=HTTPStatus.SERVICE_UNAVAILABLE, headers=_NO_STORE)


def _refusal(error: ApiError | AuthError) -> JSONResponse:
    headers = dict(_NO_STORE)
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, AuthError) and error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    return JSONResponse(failure(str(error)), status_code=error.status, headers=headers)


async def _as_envelope(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    return JSONResponse(failure(_in_words(request, error)), status_code=error.status_code, headers=headers)


def _in_words(request: Request, error: HTTPException) -> str:
    """What the web framework refused, on any path of the application."""
    if error.status_code == HTTPStatus.NOT_FOUND:
        path = printable(request.url.path[:_LONGEST_PATH])
        return f"there is no {path} here; the API is {PATH}, and /docs describes it"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"this path does not take {printable(request.method[:_LONGEST_PATH])}"
    return str(error.detail)
