"""Sessions of the page: a cookie that only reads, until it expires. No I/O besides its clock."""

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
_MAX_SESSIONS: Final = 1000


class Sessions:
    """In memory: a restart signs everybody out, and so does a new key. Digests are stored, not tokens."""

    def __init__(
        self, keys_changed: Callable[[], int] = lambda: 0, *, clock: Callable[[], float] = monotonic
    ) -> None:
        """`keys_changed`: how often a key was replaced, which ends the sessions that were begun before."""
        self._clock = clock
        self._keys_changed = keys_changed
        self._begun_with = keys_changed()
        self._lock = threading.Lock()
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def begin(self) -> str:
        """Start a session; returns its token."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._end_old()
            self._until[_digest(token)] = self._clock() + SESSION_SECONDS
            while len(self._until) > _MAX_SESSIONS:
                self._until.popitem(last=False)
        return token

    def holds(self, token: str | None) -> bool:
        """Whether the token belongs to a session that has not expired."""
        with self._lock:
            self._end_old()
            return bool(token) and self._until.get(_digest(token or ""), 0.0) > self._clock()

    def _end_old(self) -> None:
        if (changed := self._keys_changed()) != self._begun_with:
            self._begun_with = changed
            self._until.clear()

    def end(self, token: str | None) -> None:
        """End the session of the token."""
        with self._lock:
            self._until.pop(_digest(token or ""), None)


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="surrogateescape")).digest()
