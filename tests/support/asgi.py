"""An ASGI application for tests of the web server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from service.web.server import WebServer
from service.web.web_config import WebConfig

Message = dict[str, Any]
BIG = b"x" * (8 << 20)


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


class BigApp(App):
    """/big answers 8 MB."""

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["path"] != "/big":
            await super().__call__(scope, receive, send)
            return
        headers = [(b"content-length", str(len(BIG)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BIG})


@contextmanager
def serving(config: WebConfig | None = None) -> Iterator[WebServer]:
    server = WebServer(BigApp(), "127.0.0.1", 0, config)
    server.start()
    try:
        yield server
    finally:
        assert server.stop()
