"""HTTP basic authentication by the users of the web config file, for every path. ASGI middleware.

A password that was right before is recognized at once, on the event loop. Any other one takes bcrypt a tenth
of a second of a core: that has two threads of its own, a few requests that wait for them, and no further
attempt of an address with many wrong ones. So guessing slows down nothing but guessing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from starlette.requests import Request

from service.turns.arrival import arrival_of
from service.turns.in_turn import LateError, RequestTurns
from service.web.web_config import WebConfig

AsgiMessage: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[
    [AsgiMessage, Callable[[], Awaitable[AsgiMessage]], Callable[[AsgiMessage], Awaitable[None]]], Any
]

_THREADS: Final = 2
_MOST_WAITING: Final = 32  # for these threads: under two seconds at bcrypt's usual cost
_RETRY_SECONDS: Final = 2.0  # where too many wait


class BasicAuthMiddleware:
    """Requires a user and password if the file has users, and adds the file's headers."""

    def __init__(self, app: App, config: WebConfig) -> None:
        self._app = app
        self._config = config
        self._turns = RequestTurns(_THREADS)
        self._waiting = 0

    async def __call__(
        self,
        scope: AsgiMessage,
        receive: Callable[[], Awaitable[AsgiMessage]],
        send: Callable[[AsgiMessage], Awaitable[None]],
    ) -> None:
        extra = [(name.lower().encode(), value.encode()) for name, value in self._config.headers.items()]

        async def with_headers(message: AsgiMessage) -> None:
            if message["type"] == "http.response.start":
                replaced = {name for name, _ in extra}
                own = [header for header in message.get("headers", ()) if header[0].lower() not in replaced]
                message["headers"] = [*own, *extra]
            await send(message)

        if scope["type"] == "http" and self._config.has_users:
            refusal = await self._refusal(scope)
            if refusal is not None:
                status, header = refusal
                text = f"{status.phrase}\n".encode()
                headers = [
                    header,
                    (b"content-type", b"text/plain; charset=utf-8"),
                    (b"content-length", str(len(text)).encode()),
                ]
                await with_headers({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": text})
                return
        await self._app(scope, receive, with_headers)

    async def _refusal(self, scope: AsgiMessage) -> tuple[HTTPStatus, tuple[bytes, bytes]] | None:
        """The status and a header of the refusal; None for one of the users."""
        given = _credentials(scope)
        if given is None:
            return _UNAUTHORIZED
        if self._config.knows(*given):
            return None
        address = (scope.get("client") or ("",))[0]
        if (seconds := self._config.failures.blocked(address)) is not None:
            return _throttled(scope, seconds)
        if self._waiting >= _MOST_WAITING:
            return _throttled(scope, _RETRY_SECONDS)
        self._waiting += 1
        try:
            right = await self._turns.run(Request(scope), lambda: self._checked(*given, address))
        except LateError:
            return _throttled(scope, _RETRY_SECONDS)
        finally:
            self._waiting -= 1
        if right is None:
            return _throttled(scope, self._config.failures.blocked(address) or _RETRY_SECONDS)
        if not right:
            arrival_of(scope).refuse("password")
        return None if right else _UNAUTHORIZED

    def _checked(self, user: str, password: str, address: str) -> bool | None:
        """Whether it is right; None if too many others of this address were wrong meanwhile."""
        if self._config.failures.blocked(address) is not None:
            return None
        right = self._config.authenticates(user, password)
        if not right:
            self._config.failures.failed(address)
        return right


_UNAUTHORIZED: Final = (
    HTTPStatus.UNAUTHORIZED,
    (b"www-authenticate", b'Basic realm="oxherd", charset="UTF-8"'),
)


def _throttled(scope: AsgiMessage, seconds: float) -> tuple[HTTPStatus, tuple[bytes, bytes]]:
    arrival_of(scope).refuse("throttled")
    return HTTPStatus.TOO_MANY_REQUESTS, (b"retry-after", str(max(1, round(seconds))).encode())


def _credentials(scope: AsgiMessage) -> tuple[str, str] | None:
    """User and password of the request."""
    sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, coded = sent.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(coded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None
