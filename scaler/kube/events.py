"""Events of the workloads, so that `kubectl describe` tells what the scaler did. Never waited for.

One that says the same again within ten minutes counts up the first; a workload has 25 at once, and one a
minute after that: it is a story, not a log.
"""

from __future__ import annotations

import hashlib
import logging
import queue
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from scaler.kube.api import KubeApi
from scaler.kube.errors import KubeError
from scaler.kube.objects import FIELD_MANAGER, Ref, api_time
from scaler.transitions import Transition
from service.clock import Deadline, monotonic, now
from service.threads import Supervised

log = logging.getLogger(__name__)

_SAME_SECONDS: Final = 600.0
_BURST: Final = 25
_REFILL_SECONDS: Final = 60.0
_MOST_QUEUED: Final = 1000
_MOST_KEPT: Final = 4096
_LONGEST: Final = 1000
_SECONDS: Final = 5.0
_IDLE: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Posted:
    name: str
    at: float
    count: int


@dataclass(slots=True)
class _Bucket:
    tokens: float = _BURST
    at: float = field(default_factory=monotonic)

    def take(self) -> bool:
        moment = monotonic()
        self.tokens = min(_BURST, self.tokens + (moment - self.at) / _REFILL_SECONDS)
        self.at = moment
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class EventWriter:
    """Takes news from the controller and posts them in a thread of its own."""

    def __init__(self, api: KubeApi, instance: str) -> None:
        """`instance` is who reports: the pod."""
        self._api = api
        self._instance = instance
        self._queue: queue.Queue[tuple[Ref, str, Transition]] = queue.Queue(_MOST_QUEUED)
        self._posted: OrderedDict[tuple[str, str, str], _Posted] = OrderedDict()
        self._buckets: dict[str, _Bucket] = {}
        self._told = ""
        self._task = Supervised("events", self._step, max_age=60.0)

    def start(self) -> None:
        """Begin to post."""
        self._task.start()

    def stop(self, seconds: float = 3.0) -> bool:
        """Post no more; whether the thread has ended."""
        return self._task.stop(seconds)

    def put(self, ref: Ref, uid: str, transition: Transition) -> None:
        """Post it soon. With a thousand waiting the newest are lost: the log has them."""
        try:
            self._queue.put_nowait((ref, uid, transition))
        except queue.Full:
            log.warning("too many events wait: one is lost", extra={"target": str(ref)})
        self._task.wake()

    def _step(self) -> float:
        try:
            ref, uid, transition = self._queue.get_nowait()
        except queue.Empty:
            return _IDLE
        try:
            self._post(ref, uid, transition)
        except KubeError as error:
            if str(error) != self._told:
                log.warning("events cannot be written", extra={"error": str(error)})
            self._told = str(error)
        else:
            self._told = ""
        return 0.0

    def _post(self, ref: Ref, uid: str, transition: Transition) -> None:
        message = transition.message[:_LONGEST]
        key = uid, transition.reason, message
        same, moment = self._posted.get(key), now()
        if not self._buckets.setdefault(uid, _Bucket()).take():
            return
        deadline = Deadline.after(_SECONDS)
        if same is not None and moment - same.at < _SAME_SECONDS:
            patch = {"count": same.count + 1, "lastTimestamp": api_time(moment)}
            try:
                self._api.patch_event(ref.namespace, same.name, patch, deadline)
            except KubeError as error:
                if error.kind != "not_found":
                    raise
            else:
                self._keep(key, _Posted(same.name, same.at, same.count + 1))
                return
        name = f"{ref.name[:200]}.{hashlib.sha256(f'{key}{moment}'.encode()).hexdigest()[:16]}"
        body = event(ref, uid, transition, name=name, instance=self._instance, at=moment)
        self._api.create_event(ref.namespace, body, deadline)
        self._keep(key, _Posted(name, moment, 1))

    def _keep(self, key: tuple[str, str, str], posted: _Posted) -> None:
        self._posted[key] = posted
        self._posted.move_to_end(key)
        while len(self._posted) > _MOST_KEPT:
            self._posted.popitem(last=False)


def event(
    ref: Ref, uid: str, transition: Transition, *, name: str, instance: str, at: float
) -> dict[str, Any]:
    """The Event of a piece of news."""
    time = api_time(at)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": ref.namespace},
        "involvedObject": {
            "apiVersion": "apps/v1",
            "kind": ref.kind,
            "namespace": ref.namespace,
            "name": ref.name,
            "uid": uid,
        },
        "type": "Warning" if transition.trouble else "Normal",
        "reason": transition.reason,
        "message": transition.message[:_LONGEST],
        "count": 1,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": instance,
    }
