"""The users of the web configuration file before any application: no path is open to anybody else."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from service.web.web_config import WebConfig

Message: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Any
]

_REFUSED: Final = b"Unauthorized\n"


class BasicAuthMiddleware:
    """An ASGI application that asks for a user, and adds the file's headers."""

    def __init__(self, app: App, config: WebConfig) -> None:
        self._app = app
        self._config = config

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        extra = [(name.lower().encode(), value.encode()) for name, value in self._config.headers.items()]

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in extra}
                kept = [one for one in message.get("headers", ()) if one[0].lower() not in given]
                message["headers"] = [*kept, *extra]
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

    async def _authenticated(self, scope: Message) -> bool:
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, coded = sent.partition(b" ")
        if scheme.lower() != b"basic":
            return False
        try:
            user, found, password = base64.b64decode(coded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        # bcrypt takes a tenth of a second and holds no lock: other answers go on meanwhile.
        return bool(found) and await asyncio.to_thread(self._config.authenticates, user, password)
