"""A Prometheus that answers oddly, or too much: the workers stay as they are, and memory is bounded."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.deadline import wait_until
from scaler.configuration import Reloader, read_scaler_settings
from scaler.run import Scaler
from service.clock import now
from service.outcome import Ok

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]  # 40 s alone: two steps of each answer

WORKERS = 8
Answer = Callable[["_Handler"], None]


class OddPrometheus(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Answer = good
        self.asked = 0
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: OddPrometheus

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked += 1
        with suppress(OSError):
            self.server.answer(self)
        self.close_connection = True

    do_GET = do_POST  # noqa: N815  # the name that http.server calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def prometheus() -> Iterator[OddPrometheus]:
    with OddPrometheus() as server:
        yield server
        server.shutdown()


# --- answers ---------------------------------------------------------------------------------------------


def answer(
    age: float = 0.0, *, times: int = 1, extra: dict[str, Any] | None = None, **changed: object
) -> bytes:
    """40 waiting jobs, scraped `age` seconds ago, unless `changed`."""
    time_ = now()
    figures = {"waiting": "40", "active": "0", "completed": "9", "timestamp": str(time_ - age)} | changed
    result = [
        {
            "metric": {"prefix": "bull", "queue": "mail", "instance": "a", "oxherd_measure": measure},
            "value": [time_, value],
        }
        for measure, value in figures.items()
    ] * times
    data = {"resultType": "vector", "result": result}
    return json.dumps({"status": "success", "data": data} | (extra or {})).encode()


def good(handler: _Handler) -> None:
    handler.send(answer())


def body(content: bytes, status: int = 200, **headers: str) -> Answer:
    return lambda handler: handler.send(content, status, **headers)


def hangs(_: _Handler) -> None:
    time.sleep(3)


def drips(handler: _Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(30):
        handler.wfile.write(b"{")
        time.sleep(0.1)


def endless_body(handler: _Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        handler.wfile.write(b" " * 65_536)


def endless_headers(handler: _Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"X-A: " + b"b" * 1000 + b"\r\n")


def cut_short(handler: _Handler) -> None:
    whole = answer()
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole) + whole[:-50])


ODD: dict[str, Callable[[], Answer]] = {
    "no series": lambda: body(
        json.dumps({"status": "success", "data": {"resultType": "vector", "result": []}}).encode()
    ),
    "an hour old": lambda: body(answer(3600)),
    "of the future": lambda: body(answer(-3600)),
    "html": lambda: body(b"<html>welcome</html>"),
    "nothing": lambda: body(b""),
    "null": lambda: body(b"null"),
    "redirect": lambda: body(b"", 302, Location="http://127.0.0.1:1/"),
    "401": lambda: body(b"no", 401),
    "403": lambda: body(b"no", 403),
    "404": lambda: body(b"no", 404),
    "429": lambda: body(b"no", 429, Retry_After="1000"),
    "500": lambda: body(b"no", 500),
    "503": lambda: body(b'{"status":"error","errorType":"timeout","error":"query timed out"}', 503),
    "not a number": lambda: body(answer(waiting="NaN")),
    "infinite": lambda: body(answer(waiting="+Inf")),
    "negative": lambda: body(answer(waiting="-40")),
    "words": lambda: body(answer(waiting="many")),
    "no text": lambda: body(answer(waiting=40)),
    "twice": lambda: body(answer(times=2)),
    "partial": lambda: body(answer(extra={"warnings": ["some store is down"]}, waiting="0")),
    "random bytes": lambda: body(b'\x93\xff\x00{"' * 500),
    "nested": lambda: body(b"[" * 200_000),
    "many lists": lambda: body(b"[" + b"[]," * 1_000_000 + b"[]]"),
    "cut short": lambda: cut_short,
    "hangs": lambda: hangs,
    "drips": lambda: drips,
    "endless": lambda: endless_body,
    "endless headers": lambda: endless_headers,
}


@contextmanager
def scaling(prometheus: OddPrometheus, folder: Path) -> Iterator[Scaler]:
    processes = {"command": ["sleep", "1000"], "grace_seconds": 1, "ready_seconds": 0.1}
    policy = {"policy": "threshold", "min_workers": 1, "max_workers": WORKERS}
    config = {
        "listen": "127.0.0.1:0",
        "interval_seconds": 1,
        "prometheus": {"urls": [prometheus.url], "timeout_seconds": 0.5},
        "targets": [{"name": "mail", "queues": ["mail"], **policy, "processes": processes}],
    }
    path = folder / "scaler.yml"
    path.write_text(yaml.safe_dump(config))
    scaler = Scaler(Reloader(read_scaler_settings({}, config=str(path)), {}, config=str(path)))
    scaler.start()
    try:
        yield scaler
    finally:
        assert scaler.stop()


def requested(scaler: Scaler) -> int | None:
    last = scaler.controller.last
    workers = last.steps[0].workers if last else None
    return workers.value.requested if isinstance(workers, Ok) else None


def was_asked(prometheus: OddPrometheus, least: int) -> bool:
    return prometheus.asked >= least


@pytest.mark.long
def test_no_odd_answer_of_prometheus_changes_the_workers(prometheus: OddPrometheus, tmp_path: Path) -> None:
    with scaling(prometheus, tmp_path) as scaler:
        wait_until(lambda: requested(scaler) == WORKERS, what="all workers are requested", seconds=30)
        for name, make in ODD.items():
            prometheus.answer, least = make(), prometheus.asked + 2
            wait_until(partial(was_asked, prometheus, least), what=f"two steps: {name}", seconds=20)
            assert requested(scaler) == WORKERS, name
        prometheus.answer = body(answer(waiting="0"))
        wait_until(lambda: scaler.why_not_ready() == [], what="it is ready")
        assert requested(scaler) == WORKERS


MANY = {
    "lists": b"[" + b"[]," * 21_000_000 + b"[]]",
    "objects": b"[" + b'{"a":1},' * 8_000_000 + b"1]",
    "numbers": b"[" + b"1.5," * 16_000_000 + b"1]",
    "nested": b"[" * (60 << 20),
    "spaces": b" " * (80 << 20),
}
READER = """
import resource, sys
from scaler.config.prometheus import PrometheusSettings
from scaler.prometheus.observer import Observer
from scaler.prometheus.promql import DEFAULT_QUERIES, QueueKey
from service.clock import Deadline
settings = PrometheusSettings.model_validate({"urls": [sys.argv[1]], "timeout_seconds": 10})
queues = [QueueKey("bull", f"q{number}") for number in range(int(sys.argv[2]))]
observer = Observer(settings, {DEFAULT_QUERIES: queues})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reading = observer.observe(Deadline.after(10)).readings[DEFAULT_QUERIES]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, reading)
"""


@pytest.mark.parametrize(("queues", "most"), [(10, 20), (0, 260)], ids=["named", "all"])
@pytest.mark.parametrize("kind", MANY)
def test_what_an_answer_of_64_mb_takes_is_bounded_by_the_queues_asked_for(
    prometheus: OddPrometheus, kind: str, queues: int, most: int
) -> None:
    """`most` in MB, beside what the reader has; without a bound 1,600."""
    prometheus.answer = body(MANY[kind])
    done = subprocess.run(
        [sys.executable, "-c", READER, prometheus.url, str(queues)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    grown, _, reading = done.stdout.partition(" ")
    assert reading.startswith("Missing"), reading
    assert int(grown) < most * 1024, reading
