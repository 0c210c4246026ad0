"""An ASGI application for tests of the web server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]


class App:
    """Answers each request with `ok`; one to /hang not before `release` is set."""

    def __init__(self) -> None:
        self.hanging = threading.Event()
        self.release = threading.Event()

    async def __call__(
        self, scope: Message, _: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["path"] == "/hang":
            self.hanging.set()
            await asyncio.to_thread(self.release.wait)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
