"""Who signed in on the page: a cookie that reads and never changes anything, until it runs out. Pure but for
its clock."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from service.clock import monotonic

COOKIE: Final = "oxherd_session"
SESSION_SECONDS: Final = 12 * 3600
_MOST: Final = 1000


class Sessions:
    """In memory: a restart signs everybody out. What is kept is no token but its digest."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def begin(self) -> str:
        """A new token."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._until[_digest(token)] = self._clock() + SESSION_SECONDS
            while len(self._until) > _MOST:
                self._until.popitem(last=False)
        return token

    def holds(self, token: str | None) -> bool:
        """Whether somebody signed in with it."""
        with self._lock:
            return bool(token) and self._until.get(_digest(token or ""), 0.0) > self._clock()

    def end(self, token: str | None) -> None:
        """It counts no more."""
        with self._lock:
            self._until.pop(_digest(token or ""), None)


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="surrogateescape")).digest()
