"""HTTP in front of an API server, fake or real: records all requests, and injects faults."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

from service.clock import monotonic

Answer: TypeAlias = tuple[int, Mapping[str, str], bytes | Iterator[bytes]]
Backend: TypeAlias = Callable[[str, str, Mapping[str, str], bytes], Answer]


@dataclass(frozen=True)
class RecordedRequest:
    """A request; `status` is that of its response, None while it hangs or when it was reset."""

    at: float
    method: str
    path: str
    user_agent: str
    body: bytes
    status: int | None


@dataclass
class Fault:
    """What happens to the requests whose `METHOD path` matches, `times` of them (None: all)."""

    pattern: re.Pattern[str]
    kind: str  # "hang", "reset", "status", "after": as "hang", but once it was done
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    user_agent: str = ""
    times: int | None = None


class Front(ThreadingHTTPServer):
    """On a free port of loopback until `stop`."""

    daemon_threads = True
    request_queue_size = 1024  # a burst of connections waits for accept, not for TCP's next try

    def __init__(self, backend: Backend) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.backend = backend
        self.recorded: list[RecordedRequest] = []
        self.faults: list[Fault] = []
        self.latency = 0.0  # seconds before each answer
        self.lock = threading.Lock()
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.05,), name="front", daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is gone is nothing to tell of."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()

    @contextmanager
    def fault(self, pattern: str, kind: str, **options: object) -> Iterator[Fault]:
        """Inject a fault until the block ends."""
        fault = Fault(re.compile(pattern), kind, **options)  # type: ignore[arg-type]
        with self.lock:
            self.faults.append(fault)
        try:
            yield fault
        finally:
            with self.lock:
                self.faults.remove(fault)

    def starting(
        self, requests: str = "(GET|PATCH|POST|PUT) ", times: int | None = None
    ) -> AbstractContextManager[Fault]:
        """As a server that has just started: its roles are not loaded yet, so it refuses what it grants."""
        status = {"kind": "Status", "reason": "Forbidden", "message": "the request is forbidden"}
        body = json.dumps(status).encode()
        return self.fault(requests, "status", status=403, body=body, times=times)

    def writes(self, pattern: str = r"/scale") -> list[RecordedRequest]:
        """The successful PATCHes, without dry runs, in order."""
        with self.lock:
            return [
                request
                for request in self.recorded
                if request.method == "PATCH"
                and re.search(pattern, request.path)
                and "dryRun" not in request.path
                and request.status == 200
            ]

    def requested(self, pattern: str) -> list[RecordedRequest]:
        """All requests whose `METHOD path` matches."""
        with self.lock:
            return [
                request for request in self.recorded if re.search(pattern, f"{request.method} {request.path}")
            ]

    def forget(self) -> None:
        with self.lock:
            self.recorded.clear()

    def fault_of(self, line: str, user_agent: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.pattern.search(line) and fault.user_agent in user_agent and fault.times != 0:
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each response waits 40 ms for an acknowledgement
    server: Front

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815  # the names that http.server calls

    def _serve(self) -> None:
        at = monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        user_agent = self.headers.get("User-Agent", "")
        fault = self.server.fault_of(f"{self.command} {self.path}", user_agent)
        requested = {name.title(): value for name, value in self.headers.items()}
        self.server.released.wait(self.server.latency)
        status = 0
        content: bytes | Iterator[bytes] = b""
        headers: Mapping[str, str] = {}
        if fault is None or fault.kind == "after":
            status, headers, content = self.server.backend(self.command, self.path, requested, body)
        if fault is not None and fault.kind == "status":
            status, headers, content = fault.status, fault.headers, fault.body
        with self.server.lock:
            request = RecordedRequest(at, self.command, self.path, user_agent, body, status or None)
            self.server.recorded.append(request)
        if fault is not None and fault.kind in {"hang", "after"}:
            self.server.released.wait(60)
        if fault is not None and fault.kind != "status":
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if isinstance(content, bytes):
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for chunk in content:
                self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        except OSError:  # the client has gone
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
