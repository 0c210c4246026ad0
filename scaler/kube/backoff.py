"""When to ask again after a refusal or a failure. Times are monotonic seconds.

A server that has just started refuses what it grants a second later, and so does a role that is being
replaced: a refusal counts once it has lasted, where the request was granted before.
"""

from __future__ import annotations

import random
from typing import Final

from scaler.kube.errors import KubeError
from service.clock import monotonic
from service.threads import backoff

BLIP_SECONDS: Final = 60.0
"""For so long refusals of what was granted before are taken for a server that starts."""

_LONGEST_PAUSE: Final = 15.0  # a server that recovered is used again within a few steps
_LONGEST_DENIED_PAUSE: Final = 60.0
_REFUSALS: Final = frozenset({"forbidden", "unauthorized"})


class Permission:
    """Whether requests of one kind are granted, as the server answered."""

    def __init__(self, longest_pause: float = _LONGEST_DENIED_PAUSE) -> None:
        self._longest_pause = longest_pause
        self._granted_before = False
        self._error: KubeError | None = None
        self._since = self._last = self._ask_at = 0.0
        self._count = 0

    def grant(self) -> None:
        """The server did it."""
        self._granted_before, self._error, self._count, self._ask_at = True, None, 0, 0.0

    def refuse(self, error: KubeError, now: float) -> None:
        """The server refused it: pauses of 1, 2, 4 ... seconds. The same error counts once."""
        if error is self._error:
            return
        self._since = now if self._error is None else self._since
        self._error, self._last = error, now
        self._count += 1
        self._ask_at = now + min(self._longest_pause, 2.0 ** min(self._count - 1, 10))

    @property
    def denied(self) -> bool:
        """Whether it is not permitted: it never was, or it has been refused for BLIP_SECONDS."""
        lasting = self._last - self._since >= BLIP_SECONDS
        return self._error is not None and (lasting or not self._granted_before)

    def pause(self, now: float) -> float:
        """Seconds until the server is asked again; 0: at once."""
        return max(0.0, self._ask_at - now)

    @property
    def error(self) -> KubeError | None:
        """The last refusal; None after a grant."""
        return self._error


def as_blip(error: KubeError) -> KubeError:
    """A refusal that may be gone at the next request: an API server that does not do its work now."""
    return KubeError(
        "unreachable",
        f"{error}; granted before, so it is asked again: the API server may have just started",
        status=error.status,
        reason=error.reason,
        retry_after=error.retry_after,
    )


class Backoff:
    """Of one target: reads and writes that failed are repeated after growing pauses, with jitter."""

    def __init__(self) -> None:
        self._failures = 0
        self._read_until = self._write_until = 0.0
        self._error: KubeError | None = None
        self._reads, self._writes = Permission(), Permission()

    def blocking_reads(self) -> KubeError | None:
        """The error for which nothing is read now; None if reads may be sent."""
        return self._error if monotonic() < self._read_until else None

    def blocking_writes(self) -> KubeError | None:
        """The error for which nothing is written now; None if writes may be sent."""
        return self._error if monotonic() < self._write_until else None

    def failed(self, error: KubeError, *, writing: bool = False) -> KubeError:
        """The error as it is to be reported."""
        now = monotonic()
        self._failures += 1
        pause = error.retry_after
        if error.kind in _REFUSALS:
            permission = self._writes if writing else self._reads
            permission.refuse(error, now)
            pause = permission.pause(now) if pause is None else pause
            error = error if permission.denied else as_blip(error)
        elif error.kind == "not_found":
            pause = 0.0
        elif pause is None:
            pause = min(_LONGEST_PAUSE, backoff(self._failures)) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret
        self._error = error
        if writing:
            self._write_until = now + pause
        else:
            self._read_until = now + pause
        return error

    def read_succeeded(self) -> None:
        self._reads.grant()
        if monotonic() >= self._write_until:
            self._failures = 0

    def write_permitted(self) -> None:
        """The role permits to write, as a dry run has shown."""
        self._writes.grant()

    def write_succeeded(self) -> None:
        self._writes.grant()
        self._failures = 0
