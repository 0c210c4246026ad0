"""Events of the workloads, so that `kubectl describe` shows what the scaler did. The controller never waits.

The same Event within ten minutes increments the count of the first. Rate limit: a workload has 25 Events at
once, and one a minute after that; the log has all.
"""

from __future__ import annotations

import hashlib
import logging
import queue
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from scaler.kube.api import KubeApi
from scaler.kube.errors import KubeError
from scaler.kube.objects import FIELD_MANAGER, Ref, api_time
from scaler.transitions import Transition
from service.clock import Deadline, now
from service.logs import ProblemLog
from service.rate_limit import TokenBucket
from service.threads import Supervised

log = logging.getLogger(__name__)

_REPEAT_SECONDS: Final = 600.0
_BURST: Final = 25
_REFILL_SECONDS: Final = 60.0
_MAX_QUEUED: Final = 1000
_MAX_POSTED: Final = 4096
_MAX_MESSAGE: Final = 1000
_TIMEOUT_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class _PostedEvent:
    name: str
    at: float
    count: int


class EventWriter:
    """Takes transitions from the controller and creates Events in a thread of its own."""

    def __init__(self, api: KubeApi, instance: str) -> None:
        """`instance` is the reporting instance: the pod."""
        self._api = api
        self._instance = instance
        self._queue: queue.Queue[tuple[Ref, str, Transition]] = queue.Queue(_MAX_QUEUED)
        self._posted: OrderedDict[tuple[str, str, str], _PostedEvent] = OrderedDict()
        self._rate_limits: dict[str, TokenBucket] = {}
        self._problem = ProblemLog(log, "cannot write events", None)
        self.task: Final = Supervised("events", self._step, max_age=60.0)

    def start(self) -> None:
        """Begin to create Events."""
        self.task.start()

    def stop(self, seconds: float = 3.0) -> bool:
        """Create no more Events; whether the thread has ended."""
        return self.task.stop(seconds)

    def put(self, ref: Ref, uid: str, transition: Transition) -> None:
        """Create the Event soon. With a thousand queued the newest are dropped: the log has them."""
        try:
            self._queue.put_nowait((ref, uid, transition))
        except queue.Full:
            log.warning("event queue is full, event dropped", extra={"target": str(ref)})
        self.task.wake()

    def _step(self) -> float:
        try:
            ref, uid, transition = self._queue.get_nowait()
        except queue.Empty:
            return _IDLE_SECONDS
        try:
            self._post(ref, uid, transition)
        except KubeError as error:
            self._problem.report(str(error))
        else:
            self._problem.report("")
        return 0.0

    def _post(self, ref: Ref, uid: str, transition: Transition) -> None:
        message = transition.message[:_MAX_MESSAGE]
        key = uid, transition.reason, message
        previous, at = self._posted.get(key), now()
        if uid not in self._rate_limits:
            self._rate_limits[uid] = TokenBucket(1 / _REFILL_SECONDS, _BURST)
        if not self._rate_limits[uid].take():
            return
        deadline = Deadline.after(_TIMEOUT_SECONDS)
        if previous is not None and at - previous.at < _REPEAT_SECONDS:
            patch = {"count": previous.count + 1, "lastTimestamp": api_time(at)}
            try:
                self._api.patch_event(ref.namespace, previous.name, patch, deadline)
            except KubeError as error:
                if error.kind != "not_found":
                    raise
            else:
                self._remember(key, _PostedEvent(previous.name, previous.at, previous.count + 1))
                return
        name = f"{ref.name[:200]}.{hashlib.sha256(f'{key}{at}'.encode()).hexdigest()[:16]}"
        body = event_body(ref, uid, transition, name=name, instance=self._instance, at=at)
        self._api.create_event(ref.namespace, body, deadline)
        self._remember(key, _PostedEvent(name, at, 1))

    def _remember(self, key: tuple[str, str, str], posted: _PostedEvent) -> None:
        self._posted[key] = posted
        self._posted.move_to_end(key)
        while len(self._posted) > _MAX_POSTED:
            self._posted.popitem(last=False)


def event_body(
    ref: Ref, uid: str, transition: Transition, *, name: str, instance: str, at: float
) -> dict[str, Any]:
    """The Event of a transition."""
    time = api_time(at)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": ref.namespace},
        "involvedObject": {
            "apiVersion": ref.api_version,
            "kind": ref.kind,
            "namespace": ref.namespace,
            "name": ref.name,
            "uid": uid,
        },
        "type": "Warning" if transition.trouble else "Normal",
        "reason": transition.reason,
        "message": transition.message[:_MAX_MESSAGE],
        "count": 1,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": instance,
    }
