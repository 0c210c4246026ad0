"""Workers as pods: a Deployment or StatefulSet whose scale is read and patched, and nothing else of it."""

from __future__ import annotations

import logging
import math
import random
from collections import deque
from collections.abc import Callable
from typing import Final

from scaler.kube.api import KubeApi
from scaler.kube.conflicts import OtherAutoscalers, Reverts
from scaler.kube.errors import KubeError
from scaler.kube.fence import Fence
from scaler.kube.objects import Pod, Ref, Workload, pod_of, scale_patch, workload_of_scale
from scaler.kube.workloads import Workloads
from scaler.model import Applied, NotApplied, Workers
from service.clock import Deadline, monotonic
from service.outcome import Failed, Ok, Outcome
from service.rate_limit import TokenBucket
from service.threads import backoff

log = logging.getLogger(__name__)

_STARTS_KEPT: Final = 50
_QUANTILE: Final = 0.9
_PODS_EVERY: Final = 30.0
_REFUSED_SECONDS: Final = 60.0
_LONGEST_PAUSE: Final = 15.0  # a server that is back is used again within a few steps
_LEAST_SECONDS: Final = 0.5  # a write that has less than this left of the lease is not begun

_LASTING: Final = frozenset({"forbidden", "unauthorized", "not_found"})

MarkIdle = Callable[[Ref, list[Pod], int, Deadline], None]
"""Marks pods so that the idle ones go first, as so many are about to. Raises KubeError."""


class KubernetesTarget:
    """The workers of one workload: a `Target`. Outlives us: close() changes nothing."""

    def __init__(
        self,
        ref: Ref,
        api: KubeApi,
        workloads: Workloads,
        autoscalers: OtherAutoscalers,
        fence: Fence,
        *,
        dry_run: bool = False,
        proofs: TokenBucket | None = None,
        idle_first: MarkIdle | None = None,
    ) -> None:
        self.ref: Final = ref
        self._api = api
        self._workloads = workloads
        self._other_autoscalers = autoscalers
        self._fence = fence
        self._idle_first = idle_first
        self._proofs = proofs
        self._proven = dry_run  # what is never done needs no permission
        self._backoff = _Backoff()
        self._reverts = Reverts()
        self._starts: deque[float] = deque(maxlen=_STARTS_KEPT)
        self._counted: set[str] = set()
        self._pods_due = 0.0
        self._seen: Workload | None = None
        self._uid: str | None = None
        workloads.want(ref)

    @property
    def uid(self) -> str | None:
        """The workload's, as of the last read that told it."""
        return self._uid

    def read(self, deadline: Deadline) -> Outcome[Workers]:
        """Failed where it cannot be read, or where the role does not let us scale it."""
        if (blocked := self._backoff.reading()) is not None:
            return Failed(blocked.kind, str(blocked))
        try:
            workload = self._workloads.read(self.ref, deadline)
            self._prove(workload, deadline)
        except KubeError as error:
            self._backoff.begin(error)
            self._seen = None
            return Failed(error.kind, str(error))
        self._backoff.read_well()
        self._seen, self._uid = workload, workload.uid
        if not self._fence.leading:
            self._reverts = self._reverts.released()
        now = monotonic()
        self._reverts = self._reverts.seen(now, workload)
        conflict = self._other_autoscalers.of(self.ref, deadline)
        contested = f"{conflict} scales {self.ref} too" if conflict else self._reverts.contested(now)
        self._learn_starts(workload, deadline)
        return Ok(Workers(workload.replicas, workload.ready, self._start_seconds(), contested))

    def scale(self, old: int, new: int, deadline: Deadline) -> Applied | NotApplied:
        """A JSON patch of the scale, tested against `old`, while the lease is ours and has time left."""
        if (blocked := self._backoff.writing()) is not None:
            return NotApplied(blocked.kind, str(blocked), blocked.retry_after)
        if new < old and self._idle_first is not None:
            self._mark_idle(old - new, deadline)
        until = self._fence.bounded(deadline)
        if until.remaining() < _LEAST_SECONDS:
            return NotApplied("fenced", f"{self.ref}: not written, this scaler does not lead any more")
        try:
            answer = self._api.patch_scale(self.ref, scale_patch(old, new), until)
            now = workload_of_scale(answer).replicas
        except KubeError as error:
            return self._not_applied(error, old, deadline)
        except ValueError as error:
            return NotApplied("invalid", f"{self.ref}: {error}")
        self._backoff.wrote_well()
        self._proven = True
        self._reverts = self._reverts.set(new)
        self._pods_due = 0.0
        if now != new:
            return NotApplied("conflict", f"{self.ref}: {new} were asked for and {now} were set")
        return Applied(new)

    def close(self) -> None:
        """The workload stays as it is."""
        self._workloads.forget(self.ref)

    # --- permission --------------------------------------------------------------------------------------

    def _prove(self, workload: Workload, deadline: Deadline) -> None:
        """Once, and not for a thousand targets in one step: a change that the server only pretends to make
        tells whether the real one is allowed."""
        if self._proven or (self._proofs is not None and not self._proofs.take()):
            return
        patch = scale_patch(workload.replicas, workload.replicas)
        try:
            self._api.patch_scale(self.ref, patch, deadline, dry_run=True)
        except KubeError as error:
            if error.kind in {"conflict", "invalid"}:  # moved meanwhile: allowed all the same
                self._proven = True
                return
            raise
        self._proven = True

    def _not_applied(self, error: KubeError, old: int, deadline: Deadline) -> NotApplied:
        if error.kind in {"conflict", "invalid"} and self._moved(error, old, deadline):
            return NotApplied("conflict", f"{self.ref}: no longer at {old}, someone else changed it")
        self._backoff.begin(error, writing=True)
        self._reverts = self._reverts.released()  # it may have been done all the same
        return NotApplied(error.kind, str(error), error.retry_after)

    def _moved(self, error: KubeError, old: int, deadline: Deadline) -> bool:
        """Whether it is no longer what the patch tested for: the refusal's text does not tell."""
        if error.kind == "conflict":
            return True
        try:
            return workload_of_scale(self._api.scale(self.ref, deadline)).replicas != old
        except (KubeError, ValueError):
            return False

    # --- pods --------------------------------------------------------------------------------------------

    def _learn_starts(self, workload: Workload, deadline: Deadline) -> None:
        """Looks at the pods at first, and after each change once all are ready."""
        if workload.ready is None or monotonic() < self._pods_due:
            return
        if not workload.replicas or workload.ready < workload.replicas:
            return
        try:
            pods = self._pods(workload, deadline)
        except KubeError as error:
            log.debug("start times cannot be read", extra={"target": str(self.ref), "error": str(error)})
            self._pods_due = monotonic() + 10 * _PODS_EVERY
            return
        self._pods_due = float("inf")
        names = {pod.name for pod in pods}
        fresh = [pod for pod in pods if pod.start_seconds is not None and pod.name not in self._counted]
        self._starts.extend(pod.start_seconds for pod in fresh if pod.start_seconds is not None)
        self._counted = (self._counted | {pod.name for pod in fresh}) & names

    def _pods(self, workload: Workload, deadline: Deadline) -> list[Pod]:
        try:
            listed = self._api.pods(self.ref.namespace, workload.selector, deadline)
            return [pod_of(one) for one in listed]
        except ValueError as error:
            raise KubeError("invalid", f"pods of {self.ref}: {error}") from None

    def _start_seconds(self) -> float | None:
        if not self._starts:
            return None
        ordered = sorted(self._starts)
        return ordered[min(len(ordered) - 1, math.ceil(_QUANTILE * len(ordered)) - 1)]

    def _mark_idle(self, going: int, deadline: Deadline) -> None:
        """Best effort: a scale-in that does not know who is idle is better than none."""
        if self._idle_first is None or self._seen is None:
            return
        try:
            pods = [pod for pod in self._pods(self._seen, deadline) if not pod.ending]
            self._idle_first(self.ref, pods, going, deadline)
        except KubeError as error:
            log.warning("idle pods cannot be marked", extra={"target": str(self.ref), "error": str(error)})


class _Backoff:
    """When to ask again after a failure: what will not change by asking is asked once a minute, what may is
    asked after a growing, scattered pause."""

    def __init__(self) -> None:
        self._failures = 0
        self._read_until = self._write_until = 0.0
        self._problem: KubeError | None = None

    def reading(self) -> KubeError | None:
        """Why nothing is read now."""
        return self._problem if monotonic() < self._read_until else None

    def writing(self) -> KubeError | None:
        """Why nothing is written now."""
        return self._problem if monotonic() < self._write_until else None

    def begin(self, error: KubeError, *, writing: bool = False) -> None:
        self._failures += 1
        self._problem = error
        pause = error.retry_after
        if pause is None and error.kind in _LASTING:
            pause = _REFUSED_SECONDS if error.kind != "not_found" else 0.0
        if pause is None:
            pause = min(_LONGEST_PAUSE, backoff(self._failures)) * random.uniform(0.5, 1.0)  # noqa: S311  # scatter, no secret
        if writing:
            self._write_until = monotonic() + pause
        else:
            self._read_until = monotonic() + pause

    def read_well(self) -> None:
        if monotonic() >= self._write_until:
            self._failures = 0

    def wrote_well(self) -> None:
        self._failures = 0
