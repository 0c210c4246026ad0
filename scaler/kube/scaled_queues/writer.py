"""Writes the status of ScaledQueues in a thread of its own: the newest of each, not often, as the leader."""

from __future__ import annotations

import logging
import threading
from typing import Any, Final, NamedTuple

from scaler.kube.api import KubeApi
from scaler.kube.errors import KubeError
from scaler.kube.fence import Fence
from scaler.kube.objects import Json, Ref
from service.clock import Deadline, monotonic
from service.logs import ProblemLog
from service.rate_limit import TokenBucket
from service.threads import Supervised, backoff

log = logging.getLogger(__name__)

EACH_SECONDS: Final = 5.0
"""Between two writes of one object, at least."""

_IDLE_SECONDS: Final = 1.0
_TIMEOUT_SECONDS: Final = 5.0
_FORBIDDEN_SECONDS: Final = 60.0
_SHARE: Final = 0.2  # of the requests per second: those that scale come first
_DROPPED: Final = frozenset({"not_found", "invalid"})  # the object has gone, or its schema is another one


class _Entry(NamedTuple):
    ref: Ref
    uid: str
    status: dict[str, Any]
    due: float
    failures: int = 0


class StatusWriter:
    """Takes the status of each object; a later one replaces one that has not been written yet."""

    def __init__(self, api: KubeApi, fence: Fence, requests_per_second: float) -> None:
        self._api = api
        self._fence = fence
        self._lock = threading.Lock()
        self._pending: dict[str, _Entry] = {}
        self._written: dict[str, Json] = {}
        self._written_at: dict[str, float] = {}
        self._blocked_until = 0.0
        rate = max(0.1, _SHARE * requests_per_second)
        self._rate_limit = TokenBucket(rate, 4 * rate)
        self._problem = ProblemLog(
            log, "cannot write scaled queue status", "scaled queue status written again"
        )
        self.task: Final = Supervised("scaledqueue status", self._step, max_age=120.0)

    def latest(self, uid: str) -> Json | None:
        """The status that waits to be written, or that was written last; None: none by this process."""
        with self._lock:
            entry = self._pending.get(uid)
            return entry.status if entry is not None else self._written.get(uid)

    def put(self, ref: Ref, uid: str, status: dict[str, Any]) -> None:
        """Write it soon: at once, unless the object was written a moment ago."""
        with self._lock:
            due = self._written_at.get(uid, float("-inf")) + EACH_SECONDS
            known = self._pending.get(uid)
            failures = known.failures if known else 0
            self._pending[uid] = _Entry(ref, uid, status, max(due, known.due) if known else due, failures)
        self.task.wake()

    def forget(self, uids: set[str] | None = None) -> None:
        """Of the objects that have gone, or of all (None), as another process leads."""
        with self._lock:
            for known in (self._pending, self._written, self._written_at):
                for uid in list(known) if uids is None else uids & known.keys():
                    del known[uid]

    def _step(self) -> float:
        """Write what is due, as the rate permits; seconds until the next step."""
        while True:
            now = monotonic()
            if now < self._blocked_until:
                return min(_IDLE_SECONDS, self._blocked_until - now)
            with self._lock:
                entry = next((entry for entry in self._pending.values() if entry.due <= now), None)
            if entry is None:
                return _IDLE_SECONDS
            if not self._fence.leading:
                self.forget()
                return _IDLE_SECONDS
            if not self._rate_limit.take():
                return 0.1
            self._write(entry)

    def _write(self, entry: _Entry) -> None:
        deadline = self._fence.bounded(Deadline.after(_TIMEOUT_SECONDS))
        try:
            self._api.patch_scaled_queue_status(entry.ref, entry.status, deadline)
        except KubeError as error:
            self._failed(entry, error)
            return
        self._problem.report("")
        with self._lock:
            self._written_at[entry.uid] = monotonic()
            self._written[entry.uid] = entry.status
            self._done(entry)

    def _failed(self, entry: _Entry, error: KubeError) -> None:
        if error.kind == "not_found":
            with self._lock:
                self._done(entry)
            return
        if error.kind != "conflict":
            self._problem.report(str(error))
        if error.kind == "forbidden":
            self._blocked_until = monotonic() + _FORBIDDEN_SECONDS
            return
        with self._lock:
            if error.kind in _DROPPED:
                self._done(entry)
                self._written[entry.uid] = entry.status  # not again until it differs
                return
            failures = entry.failures + 1
            pause = max(error.retry_after or 0.0, backoff(failures))
            known = self._pending.get(entry.uid, entry)
            # At the end: others are not held up by one that fails.
            self._pending.pop(entry.uid, None)
            self._pending[entry.uid] = known._replace(due=monotonic() + pause, failures=failures)

    def _done(self, entry: _Entry) -> None:
        """A newer one that has taken its place meanwhile has its turn after the others, and not at once."""
        newer = self._pending.pop(entry.uid, entry)
        if newer is not entry:
            due = self._written_at.get(entry.uid, float("-inf")) + EACH_SECONDS
            self._pending[entry.uid] = newer._replace(due=max(newer.due, due), failures=0)
