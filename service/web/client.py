"""One HTTP request to a process of ours or beside us: bounded in time and size, never by a proxy."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPException
from typing import Final, Literal, NamedTuple
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

_LARGEST: Final = 256 << 20


class Answer(NamedTuple):
    """What came back, whatever its status."""

    status: int
    body: bytes


class UnansweredError(Exception):
    """Nothing came back; the text says why in a few words."""

    def __init__(self, kind: Literal["refused", "timeout", "other"], why: str) -> None:
        super().__init__(why)
        self.kind: Final = kind


def fetch(
    url: str,
    *,
    seconds: float,
    headers: Mapping[str, str],
    data: bytes | None = None,
    largest: int = _LARGEST,
) -> Answer:
    """GET, or POST of `data`; `seconds` bounds each wait. The URL's scheme is the caller's to check.

    Raises UnansweredError.
    """
    asked = Request(url, data=data, headers=dict(headers))  # noqa: S310  # callers looked at the scheme
    try:
        # No proxy: what http_proxy names is meant for the world outside.
        with build_opener(ProxyHandler({})).open(asked, timeout=seconds) as answer:
            return Answer(answer.status, answer.read(largest))
    except HTTPError as error:
        with error:
            return Answer(error.code, error.read(largest))
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ConnectionRefusedError):
            raise UnansweredError("refused", "connection refused") from None
        if isinstance(reason, TimeoutError):
            raise UnansweredError("timeout", "no answer in time") from None
        why = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise UnansweredError("other", why) from None
