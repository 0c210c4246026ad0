"""Real scalers as processes, and figures for them to decide by."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from lab.ports import free_port
from service.clock import now


class Figures(ThreadingHTTPServer):
    """A Prometheus that has figures of each queue; `waiting` returns the number of waiting jobs at a time."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, queues: int = 1, waiting: Callable[[float], int] = lambda _: 0) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.names = ["mail", *(f"q{number}" for number in range(1, queues))]
        self.waiting = waiting
        threading.Thread(target=self.serve_forever, args=(0.05,), name="figures", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self) -> bytes:
        time = now()
        figures = {"waiting": self.waiting(time), "active": 0, "completed": 9, "timestamp": time}
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
    server: Figures

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = self.server.answer()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  # the name that http.server calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def figures(queues: int = 1, waiting: Callable[[float], int] = lambda _: 0) -> Iterator[Figures]:
    server = Figures(queues, waiting)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class ScalerProcess:
    """`scaling start`; `name` is the pod's, which its requests carry."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def status(self) -> dict[str, Any] | None:
        """/status.json; None while it is not available."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status.json", timeout=2) as answer:
                data: dict[str, Any] = json.load(answer)
                return data
        except OSError:
            return None

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=2) as answer:
            text: str = answer.read().decode()
            return text

    def leads(self) -> bool:
        status = self.status()
        return bool(status and status.get("leading"))

    def stop(self) -> int:
        """As kubelet does; the exit code."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        return self.process.wait(20)


def settings(kubeconfig: str, prometheus: str, **changed: Any) -> dict[str, Any]:
    """Of one target, `mail`, that follows its figures without delay."""
    data: dict[str, Any] = {
        "interval_seconds": 1,
        "prometheus": {"urls": [prometheus]},
        "kubernetes": {"kubeconfig": kubeconfig, "lease_seconds": 3, "timeout_seconds": 1},
        "defaults": {
            "policy": "threshold",
            "cooldown_seconds": 0,
            "min_workers": 1,
            "max_workers": 8,
            "target_waiting_jobs": 5,
        },
        "targets": [{"name": "mail", "queues": ["mail"], "kubernetes": {"name": "mail"}}],
    }
    for key, value in changed.items():
        data[key] = data.get(key, {}) | value if isinstance(value, Mapping) else value
    return data


@contextmanager
def scaler(name: str, folder: Path, data: Mapping[str, Any]) -> Iterator[ScalerProcess]:
    """Run it until the block ends, however it does."""
    file, log = folder / f"{name}.yml", folder / f"{name}.log"
    file.write_text(yaml.safe_dump(dict(data)))
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "scaler",
        "start",
        "--config",
        str(file),
        "--listen",
        f"127.0.0.1:{port}",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=os.environ | {"POD_NAME": name}, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield ScalerProcess(name, process, port, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait(10)
