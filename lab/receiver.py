"""A webhook on loopback that records Alertmanager's notifications with their times."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Notification:
    """One call of the webhook: `at` is time.monotonic(), `path` names the receiver."""

    at: float
    path: str
    body: dict[str, Any]

    @property
    def alert(self) -> str:
        """The alert's name; empty if the group has several alerts."""
        return str(self.body["commonLabels"].get("alertname", ""))

    @property
    def job(self) -> str:
        """The job of the alert's series, or the host that it is about; empty if the group has several."""
        labels = self.body["commonLabels"]
        return str(labels.get("job") or labels.get("host", ""))

    @property
    def firing(self) -> bool:
        """Whether the alert is firing; otherwise it is resolved."""
        return bool(self.body["status"] == "firing")


class Receiver:
    """Listens until close() or the end of a `with`; a thread calls `forward` with each notification."""

    def __init__(self, *, port: int = 0, forward: Callable[[Notification], None] | None = None) -> None:
        self.notifications: list[Notification] = []
        record = self._record
        self._forward = forward

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                record(Notification(time.monotonic(), self.path, json.loads(body)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """No log on standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), name="receiver")
        self._thread.start()

    def of(self, alert: str, *, job: str | None = None) -> list[Notification]:
        """The notifications of one alert, of all jobs or of `job`, in order of arrival."""
        named = [notification for notification in list(self.notifications) if notification.alert == alert]
        return named if job is None else [notification for notification in named if notification.job == job]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _record(self, notification: Notification) -> None:
        self.notifications.append(notification)
        if self._forward is not None:
            self._forward(notification)
