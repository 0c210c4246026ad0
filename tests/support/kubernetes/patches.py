"""Patches as an API server applies them: JSON patch, merge patch, and refusals with their status."""

from __future__ import annotations

import copy
import json
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]

_MERGE: Final = ("application/merge-patch+json", "application/strategic-merge-patch+json")
_JSON_PATCH: Final = "application/json-patch+json"


class RefusedError(Exception):
    """The answer is an error with this status and reason."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


def patched(data: Json, content: str, body: bytes) -> Json:
    data = copy.deepcopy(data)
    if content == _JSON_PATCH:
        for operation in json.loads(body):
            _operate(data, operation)
        return data
    if content in _MERGE:
        result: Json = merged(data, read_object(body))
        return result
    supported = ", ".join((_JSON_PATCH, *_MERGE))
    why = f"the body of the request was in an unknown format - accepted media types include: {supported}"
    raise RefusedError(415, "UnsupportedMediaType", why)


def _operate(data: Json, operation: Json) -> None:
    *path, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    place: Any = data
    for part in path:
        place = place.get(part) if isinstance(place, dict) else None
    refused = RefusedError(422, "Invalid", "the server rejected our request due to an error in our request")
    if not isinstance(place, dict):
        raise refused
    match operation["op"]:
        case "test":
            if place.get(last) != operation.get("value"):
                raise refused
        case "add":
            place[last] = operation["value"]
        case "replace" if last in place:
            place[last] = operation["value"]
        case "remove" if last in place:
            del place[last]
        case _:
            raise refused


def merged(data: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(data) if isinstance(data, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def read_object(body: bytes) -> Json:
    try:
        data = json.loads(body)
    except ValueError:
        raise RefusedError(400, "BadRequest", "the body is no JSON") from None
    if not isinstance(data, dict):
        raise RefusedError(400, "BadRequest", "the body is no object")
    return data
