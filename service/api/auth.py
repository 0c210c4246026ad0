"""API key authentication: two keys, compared in constant time, and a rate limit on wrong keys.

Thread-safe; no I/O besides its clock."""

from __future__ import annotations

import hmac
import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, TypeAlias

from pydantic import SecretStr

from service.api.settings import ApiSettings
from service.clock import monotonic

Right: TypeAlias = Literal["full", "read"]
Reason: TypeAlias = Literal["missing", "wrong", "throttled", "read_only"]

REASONS: Final[tuple[Reason, ...]] = ("missing", "wrong", "throttled", "read_only")
"""Why a request was refused."""

_FAILURES: Final = 10  # of one address within the window; further keys of it are refused unread
_WINDOW_SECONDS: Final = 60.0
_MOST_ADDRESSES: Final = 10_000


class AuthError(Exception):
    """The request is refused with this HTTP `status`; `retry_after` is in seconds."""

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status: Final = status
        self.retry_after: Final = retry_after


class ApiKeyAuth:
    """Authorizes requests by their key. `setting` names the setting of the key, for the error without one."""

    def __init__(
        self, settings: ApiSettings, setting: str, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._salt = secrets.token_bytes(32)
        configured: list[tuple[Right, SecretStr | None]] = [
            ("full", settings.key),
            ("read", settings.read_key),
        ]
        self._keys = [(right, self._digest(key.get_secret_value())) for right, key in configured if key]
        self._setting = setting
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._refused: Counter[Reason] = Counter()

    @property
    def configured(self) -> bool:
        """Whether a key is set."""
        return bool(self._keys)

    @property
    def refused(self) -> Mapping[Reason, int]:
        """The number of refused requests by reason."""
        with self._lock:
            return {reason: self._refused[reason] for reason in REASONS}

    def authorize(self, keys: Iterable[str], address: str, *, changes: bool = False) -> str:
        """The valid key among those of a request; a full one before one that may only read.

        Raises AuthError: 503 if no key is set, 401 without a valid one, 403 if it may only read, 429 after
        too many wrong keys from this address.
        """
        if not self._keys:
            raise AuthError(503, f"the API is closed: {self._setting} is not set")
        presented = [key for key in keys if key]
        if not presented:
            self._count("missing")
            raise AuthError(401, "a key is needed")
        if (wait := self._blocked(address)) is not None:
            self._count("throttled")
            raise AuthError(429, "too many wrong keys from this address", wait)
        valid = [(key, right) for key in presented if (right := self._right(key))]
        if not valid:
            self._failed(address)
            raise AuthError(401, "a key is needed")  # the same text as without a key: it reveals nothing
        full = [key for key, right in valid if right == "full"]
        if changes and not full:
            self._count("read_only")
            raise AuthError(403, "this key may read only")
        return full[0] if full else valid[0][0]

    def _digest(self, key: str) -> bytes:
        return hmac.digest(self._salt, key.encode(errors="surrogateescape"), "sha256")

    def _right(self, key: str) -> Right | None:
        digest, match = self._digest(key), None
        for right, known in self._keys:  # compare with all: the time reveals nothing
            if hmac.compare_digest(digest, known) and match is None:
                match = right
        return match

    def _count(self, reason: Reason) -> None:
        with self._lock:
            self._refused[reason] += 1

    def _blocked(self, address: str) -> float | None:
        """Seconds until the rate limit admits this address again; None if it does now."""
        with self._lock:
            recent = self._recent(address)
            return recent[0] + _WINDOW_SECONDS - self._clock() if len(recent) >= _FAILURES else None

    def _failed(self, address: str) -> None:
        with self._lock:
            self._refused["wrong"] += 1
            self._failures[address] = [*self._recent(address), self._clock()][-_FAILURES:]
            self._failures.move_to_end(address)
            while len(self._failures) > _MOST_ADDRESSES:
                self._failures.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        since = self._clock() - _WINDOW_SECONDS
        return [at for at in self._failures.get(address, ()) if at > since]
