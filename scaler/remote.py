"""The orders of the `scaling` command to a scaler that is elsewhere, by its API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from service.remote import NoAnswerError, check_url

PATH: Final = "/api/monitoring"
_SECONDS: Final = 10.0
_LARGEST: Final = 16 << 20


class RefusedOrderError(Exception):
    """The scaler, or the exporter before it, does not do that; the text is its own."""


def order(url: str, key: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
    """The data of the answer. Raises NoAnswerError and RefusedOrderError."""
    url = check_url(url, "scaler")
    headers = {"content-type": "application/json", **({"x-api-key": key} if key else {})}
    raw = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
    asked = Request(url + PATH, data=raw, headers=headers)  # noqa: S310  # check_url looked at the scheme
    try:
        # No proxy: what http_proxy names is meant for the world outside.
        with build_opener(ProxyHandler({})).open(asked, timeout=_SECONDS) as answer:
            return _data(url, answer.read(_LARGEST))
    except HTTPError as error:
        with error:
            if error.code == 401:
                does = "does not accept this key" if key else "asks for a key"
                raise NoAnswerError(f"{url} {does}: set CRON_API_KEY or CRON_API_KEY_FILE") from None
            return _data(url, error.read(_LARGEST))
    except (URLError, OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        why = "no answer in time" if isinstance(reason, TimeoutError) else getattr(reason, "strerror", None)
        raise NoAnswerError(f"{url}: {why or reason}") from None


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
