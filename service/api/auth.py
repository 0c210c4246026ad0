"""API key authentication: two keys, compared in constant time, and a rate limit on wrong keys.

Thread-safe; no I/O besides its clock."""

from __future__ import annotations

import hmac
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, TypeAlias

from pydantic import SecretStr

from service.api.settings import ApiSettings
from service.clock import monotonic
from service.turns.failed_attempts import FailedAttempts

Right: TypeAlias = Literal["full", "read"]
Reason: TypeAlias = Literal["missing", "wrong", "throttled", "read_only"]

REASONS: Final[tuple[Reason, ...]] = ("missing", "wrong", "throttled", "read_only")
"""Why a request was refused."""


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
        self._lock = threading.Lock()
        self._failures = FailedAttempts(clock)
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
        if (wait := self._failures.blocked(address)) is not None:
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
