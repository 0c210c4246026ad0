"""What a request to the API server can come to, in our own words. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from service.outcome import UnreadableError

ErrorKind: TypeAlias = Literal[
    "not_found", "forbidden", "unauthorized", "conflict", "invalid", "throttled", "unreachable", "timeout"
]

_LONGEST: Final = 300
_BY_STATUS: Final[Mapping[int, ErrorKind]] = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    422: "invalid",
    429: "throttled",
}


class KubeError(UnreadableError):
    """A request that did not do what was asked. `status` is HTTP's, 0 where there was no answer; `reason` the
    API's own word (NotFound, Conflict, ...); `retry_after` in seconds, where the server says so."""

    kind: ErrorKind

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(kind, message)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


def error_of_response(what: str, status: int, body: bytes | str | None, retry_after: str | None) -> KubeError:
    """The error of an answer that is no success; `what` was asked, such as "patch deployments/mail/scale"."""
    reason, message = _status_of(body)
    kind = _BY_STATUS.get(status, "unreachable" if status >= 500 else "invalid")
    said = f"{what}: {status}{' ' if reason else ''}{reason}{': ' if message else ''}{message}"
    return KubeError(
        kind, said[:_LONGEST], status=status, reason=reason, retry_after=seconds_of(retry_after, status)
    )


def seconds_of(header: str | None, status: int) -> float | None:
    """Retry-After in seconds; None where there is none that can be used. A 429 without one: 1 second."""
    try:
        seconds = float(header) if header else None
    except ValueError:
        seconds = None
    if seconds is None or not 0 <= seconds <= 3600:
        return 1.0 if status == 429 else None
    return seconds


def _status_of(body: bytes | str | None) -> tuple[str, str]:
    """The reason and the message of a Status object; a proxy's page has none."""
    try:
        data = json.loads(body or b"")
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(data, dict):
        return "", ""
    reason, message = data.get("reason"), data.get("message")
    return (
        reason if isinstance(reason, str) else "",
        " ".join(message.split()) if isinstance(message, str) else "",
    )
