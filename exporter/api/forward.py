"""Forwards the scaling actions to the scaler, so that a client needs only the exporter's address."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from service.api.envelope import PATH, ApiError
from service.clock import Deadline
from service.json_text import read_json
from service.web.client import HttpClientError, fetch


class ScalerReply(NamedTuple):
    """The envelope that the scaler sent."""

    status: int
    body: Mapping[str, Any]


class ScalerClient:
    """Sends requests to the scaler at `url`, with a time-out of `seconds`."""

    def __init__(self, url: str | None, seconds: float) -> None:
        self._url = url.rstrip("/") if url else None
        self._seconds = seconds

    @property
    def known(self) -> bool:
        """Whether SCALER_URL is set."""
        return self._url is not None

    def query(self, action: str, key: str) -> ScalerReply:
        """Send a query. Raises ApiError: 503 without SCALER_URL, 502 and 504 without a usable response."""
        return self._send(f"{PATH}?{urlencode({'action': action})}", key, None)

    def command(self, body: Mapping[str, Any], key: str) -> ScalerReply:
        """Send a command. Raises ApiError as `query`."""
        fields = {name: value for name, value in body.items() if name != "apiKey"}
        return self._send(PATH, key, json.dumps(fields).encode())

    def _send(self, path: str, key: str, body: bytes | None) -> ScalerReply:
        if self._url is None:
            raise ApiError(503, "there is no scaler: SCALER_URL is not set")
        headers = {"X-API-Key": key, "Content-Type": "application/json", "Accept": "application/json"}
        try:
            response = fetch(
                self._url + path, deadline=Deadline.after(self._seconds), headers=headers, body=body
            )
        except HttpClientError as error:
            if error.kind == "timeout":
                raise ApiError(504, f"the scaler did not answer within {self._seconds:g} s") from None
            raise ApiError(502, f"the scaler cannot be reached: {error}") from None
        if response.status in (401, 403, 429):
            raise ApiError(502, f"the scaler refuses this key ({response.status})")
        return _scaler_reply(response.status, response.body)


def _scaler_reply(status: int, raw: bytes) -> ScalerReply:
    try:
        body = read_json(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("success"), bool):
        raise ApiError(502, f"the server at SCALER_URL is not a scaler ({status})")
    return ScalerReply(status, body)
