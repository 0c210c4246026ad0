"""Commands of `scaling` that are sent to the API of a scaler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from service.api.envelope import PATH
from service.clock import Deadline
from service.json_text import read_json
from service.web.client import HttpClientError, fetch
from service.web.status_client import StatusError, check_key_accepted, check_url

_SECONDS: Final = 10.0


class CommandRefusedError(Exception):
    """The scaler, or the exporter in front of it, refuses the command; the text is its error."""


def send_command(url: str, key: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
    """The data of the response. Raises StatusError and CommandRefusedError."""
    url = check_url(url, "scaler")
    headers = {"content-type": "application/json", **({"x-api-key": key} if key else {})}
    data = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
    try:
        response = fetch(url + PATH, deadline=Deadline.after(_SECONDS), headers=headers, body=data)
    except HttpClientError as error:
        raise StatusError(f"{url}: {error}") from None
    check_key_accepted(url, response.status, key)
    return _data(url, response.body)


def _data(url: str, raw: bytes) -> dict[str, Any]:
    try:
        answer = read_json(raw)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or "success" not in answer:
        raise StatusError(f"the server at {url} is not a scaler")
    if not answer["success"]:
        raise CommandRefusedError(str(answer.get("error")))
    data = answer.get("data")
    if not isinstance(data, dict):
        raise StatusError(f"the scaler at {url} is of another version")
    return data
