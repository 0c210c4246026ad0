"""Keeps what the API server has of ScaledQueues: a list in pages, then a watch of the changes.

A watch ends after some minutes and goes on from the last version seen, which bookmarks keep recent. A version
that the server has forgotten (410 Gone), or half an hour, begins with a list again.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Mapping
from typing import Final

from scaler.kube.api import KubeApi
from scaler.kube.errors import KubeError
from scaler.kube.objects import Json
from scaler.kube.scaled_queues.objects import ScaledQueue, scaled_queue_of
from scaler.kube.wire.bodies import EventLines
from service.clock import Deadline, monotonic
from service.logs import ProblemLog
from service.threads import Supervised, backoff

log = logging.getLogger(__name__)

RESYNC_SECONDS: Final = 1800.0

_WATCH_SECONDS: Final = (240, 300)  # drawn between: the watches of many scalers do not end at once
_SILENCE_SECONDS: Final = 150.0  # a server sends a bookmark each minute
_LIST_SECONDS: Final = 60.0
_SHORT_SECONDS: Final = 1.0  # a watch that ends sooner has failed
_LONGEST_PAUSE: Final = 30.0
_PAGE_SIZE: Final = 100
_SMALL_PAGE_SIZE: Final = 10  # where objects are so large that a page of the usual size is refused
_GONE: Final = 410
_ABSENT: Final = "; is the CustomResourceDefinition installed (deploy/kubernetes/crd)?"


class Reflector:
    """The ScaledQueues of one namespace, or of all (None). `objects` is for any thread."""

    def __init__(self, api: KubeApi, namespace: str | None, most: int) -> None:
        """`most`: objects that are kept."""
        self._api = api
        self._namespace = namespace
        self._most = most
        self._lock = threading.Lock()
        self._objects: dict[str, ScaledQueue] = {}
        self._changes = 0
        self._surplus: set[str] = set()
        self._version: str | None = None
        self._list_at = 0.0
        self._failures = 0
        self._watching: EventLines | None = None
        self._stopped = False
        where = namespace or "all namespaces"
        self._where: Final = where
        self._problem = ProblemLog(log, "cannot read scaled queues", "scaled queues read again")
        self._crowd = ProblemLog(log, "too many scaled queues", None)
        self.synced = False
        """Whether they have been listed since the start."""
        self.task: Final = Supervised(f"scaledqueues in {where}", self._step, max_age=2 * _WATCH_SECONDS[1])

    @property
    def changes(self) -> int:
        """Grows when an object appears, disappears, or declares something else."""
        return self._changes

    def objects(self) -> Mapping[str, ScaledQueue]:
        """As of now, by the names of their targets."""
        with self._lock:
            return dict(self._objects)

    def start(self) -> None:
        """Begin to list and to watch."""
        self.task.start()

    def stop(self, seconds: float = 3.0) -> bool:
        """End; whether the thread has ended."""
        self._stopped = True
        watching = self._watching
        if watching is not None:
            watching.close()
        return self.task.stop(seconds)

    # --- one step ----------------------------------------------------------------------------------------

    def _step(self) -> float:
        """A list where one is due, and a watch; seconds until the next step."""
        begun = monotonic()
        try:
            if self._version is None or begun >= self._list_at:
                self._list()
            self._watch()
        except KubeError as error:
            if error.status == _GONE:
                self._version = None
            hint = _ABSENT if error.kind == "not_found" else ""
            if not self._stopped and error.status != _GONE:
                self._problem.report(f"{error}{hint}", namespace=self._where)
            return self._pause(error.retry_after)
        if monotonic() - begun < _SHORT_SECONDS:
            return self._pause(None)
        self._failures = 0
        return 0.0

    def _pause(self, asked: float | None) -> float:
        self._failures += 1
        pause = min(_LONGEST_PAUSE, backoff(self._failures)) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter
        return max(pause, asked or 0.0)

    def _list(self) -> None:
        try:
            listed, version = self._listed(_PAGE_SIZE)
        except KubeError as error:
            if error.kind != "invalid" or error.status:
                raise
            listed, version = self._listed(_SMALL_PAGE_SIZE)
        with self._lock:
            if listed.keys() != self._objects.keys() or any(
                not queue.declares_as(self._objects[name]) for name, queue in listed.items()
            ):
                self._changes += 1
            self._objects = listed
        self._version, self._list_at = version, monotonic() + RESYNC_SECONDS
        self.synced = True

    def _listed(self, page_size: int) -> tuple[dict[str, ScaledQueue], str]:
        deadline, token = Deadline.after(_LIST_SECONDS), ""
        listed: dict[str, ScaledQueue] = {}
        self._surplus.clear()
        while True:
            page = self._api.scaled_queues_page(self._namespace, page_size, token, deadline)
            meta = page.get("metadata") or {}
            for item in page.get("items") or ():
                queue = _read(item)
                if queue is None:
                    continue
                if len(listed) < self._most:
                    listed[queue.key] = queue
                else:
                    self._add_surplus(queue.key)
            token = str(meta.get("continue") or "")
            if not token or self._surplus:  # what follows has no place either
                self._report_crowd()
                return listed, str(meta.get("resourceVersion", ""))

    def _watch(self) -> None:
        seconds = random.randint(*_WATCH_SECONDS)  # noqa: S311  # jitter
        events = self._api.watch_scaled_queues(
            self._namespace, self._version or "", seconds=seconds, silence=_SILENCE_SECONDS
        )
        self._watching = events
        try:
            if self._stopped:
                return
            self._problem.report("", namespace=self._where)
            for event in events:
                self._take(event)
                if monotonic() >= self._list_at:
                    return
        finally:
            self._watching = None
            events.release()

    def _take(self, event: Json) -> None:
        """Raises KubeError: the server ends the watch."""
        kind, item = str(event.get("type", "")), event.get("object")
        if not isinstance(item, dict):
            raise KubeError("invalid", f"watch scaledqueues in {self._where}: an event without an object")
        if kind == "ERROR":
            status = item.get("code")
            message = f"watch scaledqueues in {self._where}: {item.get('message', '')}"[:500]
            raise KubeError("invalid", message, status=status if isinstance(status, int) else 0)
        version = str((item.get("metadata") or {}).get("resourceVersion") or "")
        if kind != "BOOKMARK" and (queue := _read(item)) is not None:
            self._put(queue, gone=kind == "DELETED")
        self._version = version or self._version
        self._failures = 0

    def _put(self, queue: ScaledQueue, *, gone: bool) -> None:
        with self._lock:
            before = self._objects.get(queue.key)
            if gone:
                self._surplus.discard(queue.key)
                if self._objects.pop(queue.key, None) is not None:
                    self._changes += 1
                    if self._surplus:  # there is a place for one of them
                        self._list_at = 0.0
            elif before is None and len(self._objects) >= self._most:
                self._add_surplus(queue.key)
            else:
                self._objects[queue.key] = queue
                if before is None or not queue.declares_as(before):
                    self._changes += 1
        self._report_crowd()

    def _add_surplus(self, name: str) -> None:
        if len(self._surplus) < self._most:
            self._surplus.add(name)

    def _report_crowd(self) -> None:
        many = f"more than max_objects, which is {self._most}: the others are not read"
        self._crowd.report(many if self._surplus else "", namespace=self._where)


def _read(item: object) -> ScaledQueue | None:
    """None for what is no object of the API: it has no name to be told of."""
    try:
        if not isinstance(item, dict):
            raise ValueError("not an object")  # noqa: TRY004, TRY301  # it is data
        return scaled_queue_of(item)
    except ValueError as error:
        log.warning("scaled queue not usable", extra={"error": str(error)})
        return None
