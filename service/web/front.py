"""The paths that everybody asks for, at once; the others once somebody asks for one of them.

FastAPI and the models of an API take a third of the CPU time of a start, and a process that only Prometheus
talks to never needs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.routing import request_response

from service.web.basic_auth import App
from service.web.common_paths import Route


class FrontApp:
    """GET and HEAD of `routes`; `build` makes the application of all else, when it is first needed."""

    def __init__(self, routes: Mapping[str, Route], build: Callable[[], App]) -> None:
        self._routes: dict[str, App] = {
            path: request_response(route.handler) for path, route in routes.items()
        }
        self._build = build
        self._building = asyncio.Lock()
        self._rest: App | None = None

    @property
    def complete(self) -> bool:
        """Whether the other paths were needed yet."""
        return self._rest is not None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        route = self._routes.get(scope.get("path", "")) if scope["type"] == "http" else None
        if route is not None and scope["method"] in ("GET", "HEAD"):
            await route(scope, receive, send)
        else:
            await (self._rest or await self._built())(scope, receive, send)

    async def _built(self) -> App:
        """In a thread: the health paths answer meanwhile."""
        async with self._building:
            if self._rest is None:
                self._rest = await run_in_threadpool(self._build)
            return self._rest
