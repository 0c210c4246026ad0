"""How long an exporter takes to answer: a link between it and the Prometheus that scrapes it.

`scrape_duration_seconds` of Prometheus has, besides the answer, what Prometheus does with its samples: at
300,000 of them that is half of it. The scrape's time-out is for the answer alone.
"""

from __future__ import annotations

import threading
import time

from lab.link import Link


class TimedAnswers(Link):
    """Between an exporter at `port` of loopback and a client that sends one request after the other."""

    def __init__(self, port: int) -> None:
        self._lock = threading.Lock()
        self._answered: list[float] = []
        self._asked_at: float | None = None
        self._last_at = 0.0
        super().__init__(port)

    @property
    def seconds(self) -> list[float]:
        """Of each request that was answered the time from its first byte to the last of the answer."""
        with self._lock:
            asked, last = self._asked_at, self._last_at
            current = [] if asked is None or last < asked else [last - asked]
            return [*self._answered, *current]

    def _from_client(self, chunk: bytes) -> None:  # noqa: ARG002
        """A part of a request: of a new one if the one before was answered."""
        with self._lock:
            if self._asked_at is not None and self._last_at < self._asked_at:
                return
            if self._asked_at is not None:
                self._answered.append(self._last_at - self._asked_at)
            self._asked_at = time.monotonic()

    def _from_server(self, chunk: bytes) -> None:  # noqa: ARG002
        with self._lock:
            self._last_at = time.monotonic()
