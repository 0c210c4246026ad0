"""HTTP basic authentication by the users of the web config file, for every path. ASGI middleware."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from service.web.web_config import WebConfig

AsgiMessage: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[
    [AsgiMessage, Callable[[], Awaitable[AsgiMessage]], Callable[[AsgiMessage], Awaitable[None]]], Any
]

_REFUSED: Final = b"Unauthorized\n"


class BasicAuthMiddleware:
    """Requires a user and password if the file has users, and adds the file's headers."""

    def __init__(self, app: App, config: WebConfig) -> None:
        self._app = app
        self._config = config

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

        if scope["type"] == "http" and self._config.has_users and not await self._authenticated(scope):
            headers = [
                (b"www-authenticate", b'Basic realm="oxherd", charset="UTF-8"'),
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", str(len(_REFUSED)).encode()),
            ]
            await with_headers({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _REFUSED})
            return
        await self._app(scope, receive, with_headers)

    async def _authenticated(self, scope: AsgiMessage) -> bool:
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, coded = sent.partition(b" ")
        if scheme.lower() != b"basic":
            return False
        try:
            user, colon, password = base64.b64decode(coded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        # bcrypt takes 0.1 s and releases the GIL: in a thread, other requests go on.
        return bool(colon) and await asyncio.to_thread(self._config.authenticates, user, password)
