"""Watches of the API server in memory: a bounded history, streams of events, bookmarks, 410 Gone."""

from __future__ import annotations

import copy
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from service.clock import Deadline
from tests.support.kubernetes.patches import Json


class Change(NamedTuple):
    version: int
    kind: str  # ADDED, MODIFIED, DELETED
    key: tuple[str, str, str]
    data: Json


class History:
    """The changes of the last versions. Its lock is the server's."""

    def __init__(self, lock: threading.RLock, length: int = 5000) -> None:
        self._changed = threading.Condition(lock)
        self._changes: deque[Change] = deque(maxlen=length)
        self._dropped = 0
        self.oldest = 0  # changes up to this version are forgotten
        self.bookmark_seconds = 60.0

    def add(self, change: Change) -> None:
        if len(self._changes) == self._changes.maxlen:
            self.oldest = self._changes[0].version
        self._changes.append(change)
        self._changed.notify_all()

    def compact(self, version: int) -> None:
        """Forget all changes: who was at an earlier version has to list again."""
        self._changes.clear()
        self.oldest = version

    def drop_watches(self) -> None:
        """End the streams, as a server that stops does."""
        with self._changed:
            self._dropped += 1
            self._changed.notify_all()

    def stream(
        self,
        selected: Callable[[Change], bool],
        since: int,
        seconds: float,
        *,
        bookmarks: Callable[[int], Json] | None,
        shown: Callable[[Json], Json],
        initial: Sequence[Json] | None = None,
    ) -> Iterator[bytes]:
        """Lines of JSON. `bookmarks`: the object of one; `initial`: what is there already, sent first where
        the client asks for that instead of a list."""
        if initial is not None and bookmarks is not None:
            for data in initial:
                yield _line("ADDED", shown(data))
            end = bookmarks(since)
            end["metadata"]["annotations"] = {"k8s.io/initial-events-end": "true"}
            yield _line("BOOKMARK", end)
        dropped, deadline = self._dropped, Deadline.after(seconds)
        if since and since < self.oldest:
            why = f"too old resource version: {since} ({self.oldest})"
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired"}
            yield _line("ERROR", status | {"code": 410, "message": why})
            return
        bookmark = Deadline.after(self.bookmark_seconds)
        while dropped == self._dropped and not deadline.passed():
            with self._changed:
                new = [change for change in self._changes if change.version > since]
                if not new:
                    self._changed.wait(max(0.0, min(deadline.remaining(), bookmark.remaining(), 0.5)))
            for change in new:
                since = change.version
                if selected(change):
                    yield _line(change.kind, shown(copy.deepcopy(change.data)))
            if bookmark.passed() and bookmarks is not None:
                bookmark = Deadline.after(self.bookmark_seconds)
                yield _line("BOOKMARK", bookmarks(since))


def _line(kind: str, data: Json) -> bytes:
    return json.dumps({"type": kind, "object": data}).encode() + b"\n"
