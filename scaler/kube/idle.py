"""Idle pods first: before a scale-in, pods with active jobs get a higher pod-deletion-cost.

A worker is known by its name, which has to be the name of its pod; the exporter reports which are busy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from scaler.busy import BusyLookup, idle_workers
from scaler.kube.api import KubeApi
from scaler.kube.errors import KubeError
from scaler.kube.objects import DELETION_COST, Pod, Ref
from service.clock import Deadline
from service.outcome import Failed, Ok, Outcome, UnreadableError

MOST_PATCHES: Final = 50
"""So many pods are marked before one scale-in; the dearest first."""

_LEAST_SECONDS: Final = 0.1


class IdleFirst:
    """Knows the idle pods of a target, and marks the others."""

    def __init__(self, api: KubeApi, busy: BusyLookup, *, mark: bool = True) -> None:
        """Without `mark` no pod is marked, for which the role would need a right."""
        self._busy = busy
        self._mark = mark
        self._api = api

    def idle(self, ref: Ref, ready: int, deadline: Deadline) -> Outcome[int] | None:
        """How many of the ready pods have no job; None if the jobs do not tell whose they are."""
        try:
            idle = idle_workers(self._busy(deadline), f"{ref.name}-", ready)
        except UnreadableError as error:
            return Failed(error.kind, str(error))
        return None if idle is None else Ok(idle)

    def __call__(self, ref: Ref, pods: list[Pod], going: int, deadline: Deadline) -> None:
        """Before `going` of the pods go. Raises KubeError."""
        if not self._mark or not 0 < going < len(pods):
            return
        half = Deadline.after(max(_LEAST_SECONDS, deadline.remaining() / 2))
        try:
            busy = self._busy(half).jobs
        except UnreadableError as error:
            raise KubeError("unreachable", str(error)) from None
        for name, cost in marks(pods, busy):
            self._api.annotate_pod(ref.namespace, name, {DELETION_COST: str(cost)}, deadline)


def marks(pods: Iterable[Pod], busy: Mapping[str, int]) -> list[tuple[str, int]]:
    """The pods whose cost has to change, and the new one: a pod costs as many as it has jobs in hand."""
    costs = [(pod, busy.get(pod.name, 0)) for pod in pods]
    changed = [(pod.name, cost) for pod, cost in costs if pod.cost != cost]
    return sorted(changed, key=lambda change: -change[1])[:MOST_PATCHES]
