"""An ASGI application on uvicorn, in a thread of its own: main keeps the signals.

uvicorn bounds nothing but the time between two requests. Its protocol and its server may be subclassed, and
those of ours in `connections/` have the bounds: number of connections, time of a request and of an answer,
bytes that are not taken. So it is kept, and there is no proxy to run before it.
"""

from __future__ import annotations

import logging
import resource
import socket
import ssl
import sys
import threading
from functools import partial
from typing import Any, Final

import uvicorn

from service.threads import NoThreadError, start_thread
from service.web.basic_auth import BasicAuthMiddleware
from service.web.connections.listener import BoundedServer
from service.web.connections.protocol import BoundedProtocol
from service.web.connections.traffic import Traffic
from service.web.connections.unsent import UnsentAnswers
from service.web.settings import DESCRIPTOR_SHARE, WebSettings
from service.web.web_config import WebConfig

log = logging.getLogger(__name__)

_BACKLOG: Final = 4096  # connections that wait to be accepted; one for which there is no room waits a second
_KERNEL_BYTES: Final = 64 << 10  # of an answer, twice; Linux takes up to 4 MB, which count as the container's
_GRACE_SECONDS: Final = 2  # for requests that are being answered when a stop is asked for


class BindError(Exception):
    """The address of a setting cannot be listened on; the text is the cause."""

    def __init__(self, why: str, setting: str = "listen") -> None:
        super().__init__(why)
        self.setting: Final = setting


class WebServer:
    """Serves `app` on host:port; port 0 takes a free one."""

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        config: WebConfig | None = None,
        settings: WebSettings | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        setting: str = "listen",
        share: int = DESCRIPTOR_SHARE,
    ) -> None:
        """`tls`: without a web configuration; `setting`: which one the address is of; `share`: of so many
        file descriptors of the process one may be taken."""
        most = (settings or WebSettings()).most(descriptor_limit(), share)
        self.traffic: Final[Traffic[BoundedProtocol]] = Traffic(most)
        unsent: UnsentAnswers[BoundedProtocol] = UnsentAnswers()
        self._task = config.task if config else None
        context = config.context if config else tls
        self._setting = setting
        self._host = host
        self._port = port
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._server = BoundedServer(
            uvicorn.Config(
                BasicAuthMiddleware(app, config) if config else app,
                http=partial(BoundedProtocol, traffic=self.traffic, unsent=unsent),  # type: ignore[arg-type]
                ssl_context_factory=(lambda *_: context) if context else None,
                log_config=None,
                log_level="error",  # a line for each invalid request would let anybody fill the log
                access_log=False,  # it would write query strings, where a client may put a key
                lifespan="off",
                ws="none",
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,  # longer than a scrape interval: a scraper keeps its connection
                timeout_graceful_shutdown=_GRACE_SECONDS,
            ),
            self.traffic,
        )

    def start(self) -> None:
        """Listen, then serve; whoever connects from now on is answered. Raises BindError."""
        self._socket = listening_socket(self._host, self._port, self._setting)
        try:
            self._thread = start_thread(partial(self._run, self._socket), "http", daemon=False)
        except NoThreadError as error:
            self._socket.close()
            raise BindError(str(error), self._setting) from None
        if self._task:
            self._task.start()

    @property
    def address(self) -> str:
        """host:port that is listened on. Only once started."""
        if self._socket is None:
            raise RuntimeError("not started")
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def stop(self, seconds: float = _GRACE_SECONDS + 2.0) -> bool:
        """Close the socket, let requests under way end for a moment; whether the thread has ended."""
        self._server.should_exit = True
        if self._task:
            self._task.stop()
        if self._thread is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self, listening: socket.socket) -> None:
        try:
            self._server.run(sockets=[listening])
        except BaseException:
            log.exception("http server failed")
            raise
        finally:
            listening.close()


def descriptor_limit() -> int:
    """How many file descriptors this process may have."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def listening_socket(host: str, port: int, setting: str = "listen") -> socket.socket:
    """A bound and listening socket; `::` takes IPv4 as well. Raises BindError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(
            address,
            family=family,
            backlog=_BACKLOG,
            dualstack_ipv6=family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6(),
        )
        # Connections inherit it. asyncio sets it only on sockets made with proto=IPPROTO_TCP, and without it
        # a body waits 40 ms for the acknowledgement of its headers.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)
    except OSError as error:
        # create_server adds "(while attempting to bind ...)" to the system's words
        why = (error.strerror or str(error)).partition(" (while")[0]
        raise BindError(why[:1].lower() + why[1:], setting) from None
    return listening
