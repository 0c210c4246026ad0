"""Errors of requests to the API server, by kind. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import wraps
from math import inf
from typing import Final, Literal, ParamSpec, TypeAlias, TypeVar

from service.outcome import UnreadableError

KubeErrorKind: TypeAlias = Literal[
    "not_found", "forbidden", "unauthorized", "conflict", "invalid", "throttled", "unreachable", "timeout"
]

LONGEST_RETRY_AFTER: Final = 60.0
"""Seconds: a proxy that asks for an hour, once, would leave all workers as they are for so long."""

_MAX_MESSAGE: Final = 300
_BY_STATUS: Final[Mapping[int, KubeErrorKind]] = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    422: "invalid",
    429: "throttled",
}


class KubeError(UnreadableError):
    """A request that failed. `status` is the HTTP status, 0 without a response; `reason` is the API's own
    (NotFound, Conflict, ...); `retry_after` in seconds, where the server sent it, at most
    LONGEST_RETRY_AFTER."""

    kind: KubeErrorKind

    def __init__(
        self,
        kind: KubeErrorKind,
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


_P = ParamSpec("_P")
_T = TypeVar("_T")


def of_object(read: Callable[_P, _T]) -> Callable[_P, _T]:
    """For what reads an object of the API: where a part is of another kind than documented it raises
    ValueError too, as for anything else that is not valid."""

    @wraps(read)
    def checked(*arguments: _P.args, **named: _P.kwargs) -> _T:
        try:
            return read(*arguments, **named)
        except (AttributeError, TypeError, KeyError, OverflowError) as error:
            raise ValueError(f"not as the API documents it: {error}") from None

    return checked


def error_of_response(
    request: str, status: int, body: bytes | str | None, retry_after: str | None
) -> KubeError:
    """The error of a response that is not a success; `request` names it: "patch deployments/mail/scale"."""
    reason, message = _status_of(body)
    kind = _BY_STATUS.get(status, "unreachable" if status >= 500 else "invalid")
    text = f"{request}: {status}{' ' if reason else ''}{reason}{': ' if message else ''}{message}"[
        :_MAX_MESSAGE
    ]
    wanted = seconds_of(retry_after, status)
    if wanted is None or wanted <= LONGEST_RETRY_AFTER:
        return KubeError(kind, text, status=status, reason=reason, retry_after=wanted)
    text += f"; Retry-After is {wanted:.0f} s, asked again after {LONGEST_RETRY_AFTER:.0f} s"
    return KubeError(kind, text, status=status, reason=reason, retry_after=LONGEST_RETRY_AFTER)


def seconds_of(header: str | None, status: int) -> float | None:
    """Retry-After in seconds; None if it is absent or not usable. A 429 without it: 1 second."""
    try:
        seconds = float(header) if header else None
    except ValueError:
        seconds = None
    if seconds is None or not 0 <= seconds < inf:
        return 1.0 if status == 429 else None
    return seconds


def _status_of(body: bytes | str | None) -> tuple[str, str]:
    """The reason and the message of a Status object; both empty for anything else, such as a proxy's page."""
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
