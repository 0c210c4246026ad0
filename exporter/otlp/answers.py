"""What an answer to a push means: taken, to be sent again, or dropped, as the OTLP specification says."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, Literal, NamedTuple, TypeAlias

from exporter.otlp.requests import error_text, rejected_by
from service.web.client import ErrorKind, HttpClientError, HttpResponse

PushFailure: TypeAlias = (
    ErrorKind
    | Literal["redirect", "unauthorized", "unavailable", "rejected", "partial", "server_error", "settings"]
)

PUSH_FAILURES: Final[Mapping[PushFailure, str]] = {
    "dns": "the host name is not known",
    "refused": "connection refused",
    "unreachable": "no connection",
    "timeout": "no answer in time",
    "certificate": "its certificate is not trusted",
    "tls": "no TLS",
    "closed": "it closed the connection",
    "protocol": "the answer is not OTLP over HTTP",
    "too_large": "the answer is too large",
    "redirect": "a redirect, which is not followed",
    "unauthorized": "401 or 403",
    "unavailable": "429, 502, 503 or 504, still when the next push was due",
    "rejected": "another status from 400 to 499, as for samples that are too old",
    "partial": "some points were not taken",
    "server_error": "another status from 500 on",
    "settings": "a file of the settings cannot be used",
}
"""Why a push fails, as the label `reason` and the log have it, and what it means."""

LONGEST_PAUSE: Final = 3600.0
"""Seconds that an endpoint may have us wait, at most."""

_RETRIED: Final = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_CONNECTION: Final[frozenset[ErrorKind]] = frozenset({"dns", "refused", "unreachable", "timeout", "closed"})
_DENIED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_LONGEST_TEXT: Final = 300


class PushAnswer(NamedTuple):
    """`failure` is None if all points were taken; `text` is a line for the log, which a warning has too.
    `rejected`: points that were not taken, of a request that was. `again`: the same request may be sent once
    more, in `after` seconds at the earliest (None: it does not say)."""

    failure: PushFailure | None
    text: str = ""
    rejected: int = 0
    again: bool = False
    after: float | None = None


def answer_of(response: HttpResponse, points: int, now: float) -> PushAnswer:
    """What the response to a request of so many points means; `now` in unix s."""
    status = response.status
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return _taken(response.body, points)
    text = f"status {status}"
    if status < HTTPStatus.BAD_REQUEST:
        return PushAnswer("redirect", text)
    if (why := _text(response)) != "":
        text = f"{text}: {why}"
    if status in _RETRIED:
        after = retry_after(response.headers.get("retry-after"), now)
        return PushAnswer("unavailable", text, again=True, after=after)
    if status in _DENIED:
        return PushAnswer("unauthorized", text)
    return PushAnswer("rejected" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error", text)


def answer_of_error(error: HttpClientError) -> PushAnswer:
    """What an exchange means that failed."""
    return PushAnswer(error.kind, str(error), again=error.kind in _CONNECTION)


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds to wait, from a number or a date, bounded; None if it says neither."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return min(LONGEST_PAUSE, float(text[:10]))
    try:
        seconds = parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(LONGEST_PAUSE, max(0.0, seconds))


def _taken(body: bytes, points: int) -> PushAnswer:
    try:
        rejected = rejected_by(body)
    except ValueError as error:
        return PushAnswer("protocol", str(error))
    message = _line(rejected.message)
    if rejected.points == 0:
        return PushAnswer(None, message)
    return PushAnswer("partial", message, rejected=min(points, rejected.points))


def _text(response: HttpResponse) -> str:
    """Prometheus answers an error in plain text, others as OTLP says."""
    kind = response.headers.get("content-type", "")
    if kind.startswith("text/plain"):
        return _line(response.body[: 4 * _LONGEST_TEXT].decode("utf-8", "replace"))
    return _line(error_text(response.body)) if "protobuf" in kind else ""


def _line(text: str) -> str:
    """A bounded line that can be printed."""
    words = "".join(sign if sign.isprintable() else " " for sign in text[: 4 * _LONGEST_TEXT]).split()
    line = " ".join(words)
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}..."
