"""Workers as pods of a Deployment or StatefulSet: its scale is read and patched, and nothing else of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from scaler.kube.api import KubeApi
from scaler.kube.backoff import Backoff, Permission
from scaler.kube.conflicts import OtherAutoscalers, Reverts
from scaler.kube.errors import KubeError
from scaler.kube.fence import Fence
from scaler.kube.idle import IdleFirst
from scaler.kube.leaving import LeavingPods
from scaler.kube.objects import Pod, Ref, Workload, pod_of, scale_patch, workload_of_scale
from scaler.kube.start_times import StartTimes
from scaler.kube.workloads import Workloads
from scaler.model import Applied, NotApplied, Workers
from service.clock import Deadline, monotonic
from service.outcome import Failed, Ok, Outcome
from service.rate_limit import TokenBucket

log = logging.getLogger(__name__)

_FORBIDDEN_HINT: Final = (
    "; the Role does not permit it, or names another workload: a slip in the name is a 403"
)
_MIN_SECONDS: Final = 0.5  # with less than this left of the lease, or of the step, no write is sent


class KubernetesTarget:
    """The workers of one workload: a `Target`. It outlives the scaler: close() does not change it."""

    def __init__(
        self,
        ref: Ref,
        api: KubeApi,
        workloads: Workloads,
        autoscalers: OtherAutoscalers,
        fence: Fence,
        *,
        dry_run: bool = False,
        permission_checks: TokenBucket | None = None,
        idle_first: IdleFirst | None = None,
    ) -> None:
        self.ref: Final = ref
        self._api = api
        self._workloads = workloads
        self._other_autoscalers = autoscalers
        self._fence = fence
        self._idle_first = idle_first
        self._permission_checks = permission_checks
        self._permitted = dry_run  # a dry run needs no permission to write
        self._backoff = Backoff()
        self._reverts = Reverts()
        self._start_times = StartTimes()
        self._leaving = LeavingPods()
        self._marks = Permission()
        self._last_read: Workload | None = None
        self._uid: str | None = None
        workloads.register(ref)

    @property
    def uid(self) -> str | None:
        """The workload's uid, as of the last successful read; None before."""
        return self._uid

    def read(self, deadline: Deadline, *, acts: bool = True) -> Outcome[Workers]:
        """Failed if it cannot be read, or if the role does not permit to scale it, where it `acts`."""
        if (blocked := self._backoff.blocking_reads()) is not None:
            return Failed(blocked.kind, str(blocked))
        try:
            workload = self._workloads.read(self.ref, deadline)
            if acts:
                self._check_permission(workload, deadline)
        except KubeError as refused:
            error = self._backoff.failed(refused)
            self._last_read = None
            hint = _FORBIDDEN_HINT if error.kind == "forbidden" else ""
            return Failed(error.kind, f"{error}{hint}")
        self._backoff.read_succeeded()
        self._last_read, self._uid = workload, workload.uid
        if not self._fence.leading:
            self._reverts = self._reverts.without_write()
        contested = self._contested(workload, deadline)
        self._update_start_times(workload, deadline)
        return Ok(
            Workers(
                workload.replicas,
                workload.ready,
                self._start_times.quantile,
                contested,
                shared=True,
                applied=workload.applied,
                grace_seconds=workload.grace_seconds,
                leaving=self._leaving.update(workload, monotonic()),
            )
        )

    def _contested(self, workload: Workload, deadline: Deadline) -> str | None:
        """Who else scales the workload: an autoscaler, looked for at once when a write was reverted, or who
        reverts writes again and again."""
        now, reverted = monotonic(), self._reverts.reverted(workload)
        autoscaler = self._other_autoscalers.of(workload, self.ref, deadline, at_once=reverted)
        if autoscaler is not None:
            self._reverts = Reverts()  # it was the autoscaler: when it is gone nobody is left
            return f"conflict: {autoscaler} scales {self.ref} too"
        self._reverts = self._reverts.after_read(now, workload)
        return self._reverts.contested(now)

    def start_times(self) -> tuple[float, ...]:
        """Seconds that pods of this scaler's scale-outs took to start, the oldest first, at most 50."""
        return self._start_times.seconds

    def restore_start_times(self, seconds: Sequence[float]) -> None:
        """Those that another process measured; invalid values are dropped. Before the first read."""
        self._start_times.restore(seconds)

    def idle(self, deadline: Deadline) -> Outcome[int] | None:
        """By what the exporter reports, if its URL is set and every job has the name of a pod; Failed while a
        rollout goes on: it divides a scale-in over old and new pods, whichever are idle."""
        if self._idle_first is None or self._last_read is None or self._last_read.ready is None:
            return None
        if self._last_read.rolling:
            return Failed("rollout", f"{self.ref} is being rolled out, and which of its pods go is not ours")
        return self._idle_first.idle(self.ref, self._last_read.ready, deadline)

    def scale(self, old: int, new: int, deadline: Deadline) -> Applied | NotApplied:
        """Sends a JSON patch of the scale that tests for `old`, as long as this scaler holds the lease."""
        if (blocked := self._backoff.blocking_writes()) is not None:
            return NotApplied(blocked.kind, str(blocked), blocked.retry_after)
        if new < old and self._idle_first is not None:
            self._mark_idle(old - new, deadline)
        if deadline.remaining() < _MIN_SECONDS:
            return NotApplied("throttled", f"{self.ref}: not written, no time is left in this step", 0.0)
        fenced = self._fence.bounded(deadline)
        if fenced.remaining() < _MIN_SECONDS:
            return NotApplied("fenced", f"{self.ref}: not written, this scaler is not the leader any more")
        try:
            scale = self._api.patch_scale(self.ref, scale_patch(old, new), fenced)
            replicas = workload_of_scale(scale).replicas
        except KubeError as error:
            return self._not_applied(error, old, deadline)
        except ValueError as error:
            return NotApplied("invalid", f"{self.ref}: {error}")
        finally:
            self._workloads.written(self.ref)
        self._backoff.write_succeeded()
        self._permitted = True
        self._reverts = self._reverts.after_write(new)
        ready = self._last_read.ready if self._last_read else None
        self._start_times.scaled(old, new, old if ready is None else ready, monotonic())
        if replicas != new:
            return NotApplied("conflict", f"{self.ref}: {new} replicas were requested, {replicas} were set")
        return Applied(new)

    def close(self) -> None:
        """The workload stays as it is."""
        self._workloads.unregister(self.ref)

    # --- permission --------------------------------------------------------------------------------------

    def _check_permission(self, workload: Workload, deadline: Deadline) -> None:
        """A server-side dry run shows whether a patch is permitted. Once for each target, with a rate limit:
        not for a thousand targets in one step."""
        if self._permitted or (self._permission_checks is not None and not self._permission_checks.take()):
            return
        patch = scale_patch(workload.replicas, workload.replicas)
        try:
            self._api.patch_scale(self.ref, patch, deadline, dry_run=True)
        except KubeError as error:
            if error.kind in {"conflict", "invalid"}:  # changed meanwhile, but permitted
                self._permit()
                return
            if error.kind == "throttled":  # it was read, which is its turn: it is proved in a later one
                return
            raise
        self._permit()

    def _permit(self) -> None:
        self._permitted = True
        self._backoff.write_permitted()

    def _not_applied(self, error: KubeError, old: int, deadline: Deadline) -> NotApplied:
        if error.kind in {"conflict", "invalid"} and self._changed_by_others(error, old, deadline):
            return NotApplied(
                "conflict", f"{self.ref}: no longer at {old} replicas, another client changed them"
            )
        error = self._backoff.failed(error, writing=True)
        self._reverts = self._reverts.without_write()  # the server may have done it all the same
        return NotApplied(error.kind, str(error), error.retry_after)

    def _changed_by_others(self, error: KubeError, old: int, deadline: Deadline) -> bool:
        """Whether the replicas are no longer those that the patch tested for: the error does not say."""
        if error.kind == "conflict":
            return True
        try:
            return workload_of_scale(self._api.scale(self.ref, deadline)).replicas != old
        except (KubeError, ValueError):
            return False

    # --- pods --------------------------------------------------------------------------------------------

    def _update_start_times(self, workload: Workload, deadline: Deadline) -> None:
        """Reads the pods when more of those that this scaler asked for have become ready."""
        ready, now = workload.ready, monotonic()
        if ready is None or not self._start_times.due(workload.replicas, ready, now):
            return
        try:
            self._start_times.learn(self._pods(workload, deadline), ready, now)
        except KubeError as error:
            log.debug("cannot read start times", extra={"target": str(self.ref), "error": str(error)})
            self._start_times.forget()

    def _pods(self, workload: Workload, deadline: Deadline) -> list[Pod]:
        if not workload.selector:  # it would select the pods of others
            return []
        try:
            items = self._api.pods(self.ref.namespace, workload.selector, deadline)
            return [pod_of(item) for item in items]
        except ValueError as error:
            raise KubeError("invalid", f"pods of {self.ref}: {error}") from None

    def _mark_idle(self, leaving: int, deadline: Deadline) -> None:
        """Best effort: a scale-in without knowing which pods are idle is better than none."""
        if self._idle_first is None or self._last_read is None or self._marks.pause(monotonic()):
            return
        try:
            pods = [pod for pod in self._pods(self._last_read, deadline) if not pod.ending]
            self._idle_first(self.ref, pods, leaving, deadline)
        except KubeError as error:
            said = self._marks.error is not None
            if error.kind == "forbidden":
                self._marks.refuse(error, monotonic())
            if not (said and error.kind == "forbidden"):  # a role without the right: said once
                log.warning("cannot mark idle pods", extra={"target": str(self.ref), "error": str(error)})
        else:
            self._marks.grant()
