"""The orders of the `scaling` command to a scaler that is elsewhere, by its API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from service.api.envelope import PATH
from service.web.client import UnansweredError, fetch
from service.web.status_client import NoAnswerError, check_key_taken, check_url

_SECONDS: Final = 10.0


class RefusedOrderError(Exception):
    """The scaler, or the exporter before it, does not do that; the text is its own."""


def order(url: str, key: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
    """The data of the answer. Raises NoAnswerError and RefusedOrderError."""
    url = check_url(url, "scaler")
    headers = {"content-type": "application/json", **({"x-api-key": key} if key else {})}
    data = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
    try:
        answer = fetch(url + PATH, seconds=_SECONDS, headers=headers, data=data)
    except UnansweredError as error:
        raise NoAnswerError(f"{url}: {error}") from None
    check_key_taken(url, answer.status, key)
    return _data(url, answer.body)


def _data(url: str, raw: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or "success" not in answer:
        raise NoAnswerError(f"{url} answered something else than a scaler")
    if not answer["success"]:
        raise RefusedOrderError(str(answer.get("error")))
    data: dict[str, Any] = answer["data"]
    return data
