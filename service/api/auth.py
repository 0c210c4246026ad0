"""API key authentication: two keys, compared in constant time, and a rate limit on wrong keys.

Thread-safe. A request does no I/O: files of keys are read in the background."""

from __future__ import annotations

import hmac
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, TypeAlias

from service.api.keys import ApiKeys, KeyPair
from service.api.settings import ApiSettings
from service.clock import monotonic
from service.threads import Supervised
from service.turns.failed_attempts import FailedAttempts

Right: TypeAlias = Literal["full", "read"]
Reason: TypeAlias = Literal["missing", "wrong", "throttled", "read_only"]

REASONS: Final[tuple[Reason, ...]] = ("missing", "wrong", "throttled", "read_only")
"""Why a request was refused."""

_LOOK_SECONDS: Final = 1.0  # between two looks at the files of the keys
_MAX_AGE: Final = 60.0


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
        self.keys: Final = ApiKeys(settings)
        self._pair = KeyPair(None, None)
        self._keys: list[tuple[Right, bytes]] = []
        self.changes = 0
        """How often a key was replaced: what was opened with an earlier one is closed."""
        self._setting = setting
        self._lock = threading.Lock()
        self._failures = FailedAttempts(clock)
        self._refused: Counter[Reason] = Counter()
        self._refresh()
        self.tasks: Final = (
            (Supervised("api keys", self._refresh, max_age=_MAX_AGE),) if self.keys.rotate else ()
        )

    def _refresh(self) -> float:
        """Take over keys that have changed; not in a request, whose loop no file system may hold up."""
        pair = self.keys.current()
        if pair != self._pair:
            before, self._pair = self._pair, pair
            named: list[tuple[Right, str | None]] = [("full", pair.full), ("read", pair.read)]
            self._keys = [(right, self._digest(key)) for right, key in named if key]
            self.changes += before != KeyPair(None, None)
        return _LOOK_SECONDS

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
        if (wait := self._failures.blocked(address)) is not None:
            self._count("throttled")
            raise AuthError(429, "too many wrong keys from this address", wait)
        valid = [(key, right) for key in presented if (right := self._right(key))]
        if not valid:
            self._failed(address)
            raise AuthError(401, "invalid API key")
        full = [key for key, right in valid if right == "full"]
        if changes and not full:
            self._count("read_only")
            raise AuthError(403, "this key may read only")
        return full[0] if full else valid[0][0]

    def _digest(self, key: str) -> bytes:
        return hmac.digest(self._salt, key.encode(errors="surrogatepass"), "sha256")

    def _right(self, key: str) -> Right | None:
        digest, match = self._digest(key), None
        for right, known in self._keys:  # compare with all: the time reveals nothing
            if hmac.compare_digest(digest, known) and match is None:
                match = right
        return match

    def _count(self, reason: Reason) -> None:
        with self._lock:
            self._refused[reason] += 1

    def _failed(self, address: str) -> None:
        self._failures.failed(address)
        self._count("wrong")
