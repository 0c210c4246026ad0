"""A fake Prometheus for scalers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from service.clock import now


class Waiting:
    """How many jobs wait; a test changes it."""

    def __init__(self, jobs: int = 0) -> None:
        self.jobs = jobs

    def __call__(self, _: float) -> int:
        return self.jobs


class FakePrometheus(ThreadingHTTPServer):
    """It has a sample of every queried queue; `waiting` is the number of waiting jobs at a time,
    `run_seconds` how long jobs ran (None: it is not known), `queries` how often it was asked."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, queues: int = 1, waiting: Callable[[float], int] = lambda _: 0) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.names = ["mail", *(f"q{number}" for number in range(1, queues))]
        self.waiting = waiting
        self.run_seconds: float | None = None
        self.queries = 0
        threading.Thread(target=self.serve_forever, args=(0.05,), name="figures", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self) -> bytes:
        time = now()
        figures = {"waiting": self.waiting(time), "active": 0, "completed": 9, "timestamp": time}
        if self.run_seconds is not None:
            figures |= {"duration_sum": 9 * self.run_seconds, "duration_count": 9}
        result = [
            {
                "metric": {"prefix": "bull", "queue": name, "instance": "a", "oxherd_measure": measure},
                "value": [time, str(value)],
            }
            for name in self.names
            for measure, value in figures.items()
        ]
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FakePrometheus

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.queries += 1
        body = self.server.answer()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  # the name that http.server calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def fake_prometheus(
    queues: int = 1, waiting: Callable[[float], int] = lambda _: 0
) -> Iterator[FakePrometheus]:
    prometheus = FakePrometheus(queues, waiting)
    try:
        yield prometheus
    finally:
        prometheus.shutdown()
        prometheus.server_close()
