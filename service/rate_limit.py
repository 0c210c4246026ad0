"""How fast we ask: a bucket of tokens, so that a thousand changes at once are no storm for the API server."""

from __future__ import annotations

import threading

from service.clock import Deadline, monotonic, wait


class TokenBucket:
    """For many threads. `per_second` in the long run, `burst` at once."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._lock = threading.Lock()
        self._tokens = burst
        self._at = monotonic()
        self._never = threading.Event()

    def take(self) -> bool:
        """Take a token if there is one now."""
        with self._lock:
            self._refill()
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    def wait(self, deadline: Deadline) -> bool:
        """Take a token, and wait until it is there; False at once where that would be too late."""
        with self._lock:
            self._refill()
            seconds = max(0.0, (1 - self._tokens) / self._per_second)
            if seconds > deadline.remaining():
                return False
            self._tokens -= 1  # below 0: those who come later wait longer
        if seconds > 0:
            wait(self._never, seconds)
        return True

    def _refill(self) -> None:
        moment = monotonic()
        self._tokens = min(self._burst, self._tokens + (moment - self._at) * self._per_second)
        self._at = moment
