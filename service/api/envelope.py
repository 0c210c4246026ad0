"""The envelope of every response, and its camelCase data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from service.clock import now

PATH: Final = "/api/monitoring"


class Camel(BaseModel):
    """Data of a response: read from snake_case, sent as camelCase; unknown keys are dropped."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class CommandBody(BaseModel):
    """The body of a POST: camelCase, no unknown key, no number that is a text."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, strict=True, hide_input_in_errors=True
    )

    api_key: str | None = Field(None, description="the key, where no header can be sent", exclude=True)


D = TypeVar("D")


class Success(BaseModel, Generic[D]):
    """What was asked for."""

    success: Literal[True] = True
    data: D
    timestamp: str = Field(description="time of the answer, ISO 8601 in UTC")


class Failure(BaseModel):
    """Why not."""

    success: Literal[False] = False
    error: str


class ApiError(Exception):
    """A response that is not a success, with this HTTP `status`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status: Final = status


def success(data: object) -> dict[str, Any]:
    """The envelope around JSON data."""
    return {"success": True, "data": data, "timestamp": stamp(now())}


def failure(message: str) -> dict[str, Any]:
    """The envelope of an error."""
    return {"success": False, "error": message}


def stamp(at: float) -> str:
    """Unix seconds as ISO 8601 with milliseconds, as JavaScript writes it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_json_data(data: Camel) -> dict[str, Any]:
    """As it is sent: JSON data with camelCase keys."""
    return data.model_dump(mode="json", by_alias=True)


def parse_command(bodies: TypeAdapter[Any], models: Mapping[str, Any], body: object) -> Any:
    """The command of a body; `models` by action. Raises ApiError 400, which names the key and the problem."""
    if not isinstance(body, dict):
        raise ApiError(400, "the body should be a JSON object")
    action = body.get("action")
    if not isinstance(action, str) or action not in models:
        raise ApiError(400, unknown_action(action, tuple(models)))
    try:
        return bodies.validate_python(body)
    except ValidationError as error:
        problems = [_problem(problem, action, models[action]) for problem in error.errors()[:5]]
        raise ApiError(400, "; ".join(problems)) from None


def unknown_action(action: object, actions: tuple[str, ...]) -> str:
    """The error text for an action that does not exist."""
    problem = f"there is no action {action[:60]!r}" if isinstance(action, str) else "an action is needed"
    return f"{problem}; actions: {', '.join(actions)}"


def _problem(error: Any, action: str, model: Any) -> str:
    key = ".".join(str(part) for part in error["loc"] if part != action) or "body"
    if error["type"] == "extra_forbidden":
        keys = [field.alias or name for name, field in model.model_fields.items()]
        near = get_close_matches(key, keys, n=1)
        return f"{key[:100]}: {action} has no such key" + (f"; did you mean {near[0]}?" if near else "")
    why = error["msg"].removeprefix("Value error, ")
    return f"{key[:100]}: {why[:1].lower()}{why[1:]}"
