"""A rate limit as a token bucket: 1,000 changes do not flood an API server, nor a loud worker the log."""

from __future__ import annotations

import threading

from service.clock import Deadline, monotonic, wait


class TokenBucket:
    """Thread-safe. `per_second` tokens on average, `burst` at once."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._lock = threading.Lock()
        self._tokens = burst
        self._at = monotonic()
        self._never = threading.Event()

    def take(self, tokens: float = 1) -> bool:
        """Take so many tokens if they are there now."""
        with self._lock:
            self._refill()
            if self._tokens < tokens:
                return False
            self._tokens -= tokens
            return True

    def available(self) -> float:
        """How many tokens could be taken now."""
        with self._lock:
            self._refill()
            return self._tokens

    def wait(self, deadline: Deadline) -> bool:
        """Take a token, waiting for it; False at once if it would come after the deadline."""
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
