"""The OpenAPI description of an API and of the other paths."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

from service.api.actions import Api, Command, Query
from service.api.envelope import PATH, Failure, Success

if TYPE_CHECKING:
    from fastapi import FastAPI

ABOUT: Final = f"""`GET {PATH}?action=ACTION` reads; `POST {PATH}` with a JSON body sends a command.
The key is `CRON_API_KEY` (or `CRON_API_KEY_FILE`) of this process, sent in one of these ways:
- `Authorization: Bearer KEY`
- `X-API-Key: KEY`
- `?apiKey=KEY`, or `apiKey` in the body
`CRON_API_READ_KEY` may read and not send commands. Without any key set, every request to the API gets 503.
An answer is `{{"success": true, "data": ..., "timestamp": "..."}}` or `{{"success": false, "error": "..."}}`.
Keys are camelCase. Bytes, seconds (times since 1970), ratios from 0 to 1; null means unknown.
"""

SECURITY: Final[list[dict[str, list[str]]]] = [{"bearer": []}, {"header": []}, {"query": []}]

_REFUSALS: Final[Mapping[int | str, str]] = {
    400: "The request is not valid; `error` says why.",
    401: "No key, or a wrong one.",
    404: "There is no such queue.",
    403: "The key may only read.",
    409: "Monitoring is switched off: there is nothing to report.",
    413: "The body is too large.",
    429: "Too many wrong keys; `Retry-After` says how long to wait.",
    502: "The other process gave no usable answer.",
    503: "No key is set, or the data could not be read.",
    504: "The other process did not answer in time.",
}


def described(*statuses: int, content: str = "") -> dict[int | str, dict[str, Any]]:
    """Responses of a path outside the API: these statuses, and for 200 these media types instead of JSON."""
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": _REFUSALS.get(status, "Not now."), "content": {"application/json": {}}}
        for status in statuses
    }
    if content:
        responses[200] = {"description": "OK", "content": {media: {} for media in content.split()}}
    return responses


def query_description(api: Api) -> dict[str, Any]:
    """FastAPI's arguments that describe GET."""
    queries = [*api.queries.values(), *([api.overall] if api.overall else [])]
    return {
        "summary": "Read",
        "operation_id": "ask",
        "description": _listed(api.queries, api.overall),
        "responses": _responses([query.model for query in queries]),
        "openapi_extra": {"parameters": _parameters(api), "security": SECURITY},
    }


def command_description(api: Api) -> dict[str, Any]:
    """FastAPI's arguments that describe POST."""
    return {
        "summary": "Command",
        "operation_id": "order",
        "description": _listed(api.commands, None),
        "responses": _responses([command.model for command in api.commands.values()]),
        "openapi_extra": {"security": SECURITY},
    }


def one_of(models: list[Any]) -> Any:
    """The union of these types, each once."""
    return reduce(or_, dict.fromkeys(models))


def describe_bodies(app: FastAPI, bodies: TypeAdapter[Any]) -> None:
    """Add the schema of the body, which the handler reads itself so that the key is checked first."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        spec: dict[str, Any] = generate()
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


def _responses(models: list[Any]) -> dict[int | str, dict[str, Any]]:
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": Failure, "description": text} for status, text in _REFUSALS.items()
    }
    return {200: {"model": one_of([Success.__class_getitem__(model) for model in models])}} | refusals


def _listed(actions: Mapping[str, Query | Command], overall: Query | None) -> str:
    lines = [f"- `{name}`: {action.summary}" for name, action in actions.items()]
    return "\n".join([*([f"- without an action: {overall.summary}"] if overall else []), *lines])


def _parameters(api: Api) -> list[dict[str, Any]]:
    action = {
        "name": "action",
        "in": "query",
        "required": api.overall is None,
        "description": "what is read",
        "schema": {"type": "string", "enum": list(api.queries)},
    }
    others = [
        {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in (api.parameters or {}).items()
    ]
    return [action, *others]
