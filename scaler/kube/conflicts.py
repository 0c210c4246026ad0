"""Conflicts with other controllers: other autoscalers, and managers that revert our writes repeatedly."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from scaler.kube.api import KubeApi
from scaler.kube.backoff import Permission
from scaler.kube.errors import KubeError
from scaler.kube.objects import FIELD_MANAGER, Autoscaler, Json, Ref, Workload, conflicts_of
from service.clock import Deadline, monotonic

log = logging.getLogger(__name__)

_REFRESH_SECONDS: Final = 60.0
_LEAST_SECONDS: Final = 5.0  # between two reads of a namespace, even if a write was reverted
_SOON: Final = frozenset({"unreachable", "throttled", "unauthorized", "invalid", "conflict"})
"""Errors after which a list is read again within seconds. Not after a time-out: all targets wait for it."""

_MAX_AGE: Final = 600.0  # autoscalers of a kind that could not be read for so long are dropped


class OtherAutoscalers:
    """The HPAs and ScaledObjects by the workload that they scale, read once a minute in each namespace."""

    def __init__(self, api: KubeApi, every: float = _REFRESH_SECONDS) -> None:
        """`every`: seconds between two reads of a namespace."""
        self._api = api
        self._every = every
        self._lock = threading.Lock()
        self._by_namespace: dict[str, _NamespaceConflicts] = {}
        self._logged: set[str] = set()

    def of(self, workload: Workload, ref: Ref, deadline: Deadline, *, at_once: bool = False) -> str | None:
        """The other autoscaler of the workload; None if there is none, or if that could not be read yet.
        `at_once`: somebody has just changed the replicas."""
        with self._lock:
            known = self._by_namespace.setdefault(ref.namespace, _NamespaceConflicts())
            known.wanted = known.wanted or at_once
            at, wanted = monotonic(), known.wanted
            if known.refused.error is not None:  # a server that has just started, or a role without the right
                wanted = wanted or not known.refused.pause(at)
            every = min(self._every, _LEAST_SECONDS) if wanted else self._every
            if at - known.tried_at >= every:
                self._refresh(ref.namespace, known, deadline)
            autoscaler = known.conflicts.get((ref.kind, ref.name))
        return autoscaler.name if autoscaler is not None and autoscaler.scales(workload.replicas) else None

    def _refresh(self, namespace: str, known: _NamespaceConflicts, deadline: Deadline) -> None:
        known.tried_at, known.wanted = monotonic(), False
        hpas = self._list(self._api.autoscalers, namespace, known.hpas, deadline)
        scaled_objects = self._list(self._api.scaled_objects, namespace, known.scaled_objects, deadline)
        refusal = hpas.refusal or scaled_objects.refusal
        if refusal is None:
            known.refused.grant()
        else:
            known.refused.refuse(refusal, known.tried_at)
        known.wanted = hpas.failed or scaled_objects.failed
        known.hpas, known.scaled_objects = hpas, scaled_objects
        try:
            known.conflicts = conflicts_of(hpas.items, scaled_objects.items)
        except ValueError as error:
            log.warning("cannot read other autoscalers", extra={"error": str(error)})

    def _list(
        self,
        request: Callable[[str, Deadline], list[Json]],
        namespace: str,
        before: _Kind,
        deadline: Deadline,
    ) -> _Kind:
        """Those of one kind; if they cannot be read, those of `before`."""
        try:
            return _Kind(tuple(request(namespace, deadline)), monotonic())
        except KubeError as error:
            if error.kind == "not_found":  # KEDA is not installed
                return _Kind((), monotonic())
            if str(error) not in self._logged and error.kind == "forbidden":
                self._logged.add(str(error))
                log.warning("cannot list other autoscalers", extra={"error": str(error)})
            items = before.items if monotonic() - before.read_at <= _MAX_AGE else ()
            refusal = error if error.kind == "forbidden" else None
            return _Kind(items, before.read_at, failed=error.kind in _SOON, refusal=refusal)


@dataclass(frozen=True, slots=True)
class _Kind:
    """The autoscalers of one kind. `failed`: they may be read at the next request; `refusal`: the role, or a
    server that starts, does not let them be read."""

    items: tuple[Json, ...] = ()
    read_at: float = float("-inf")
    failed: bool = False
    refusal: KubeError | None = None


@dataclass
class _NamespaceConflicts:
    wanted: bool = False  # somebody has changed replicas, or a list failed: not only once a minute
    refused: Permission = field(default_factory=Permission)
    tried_at: float = float("-inf")
    hpas: _Kind = _Kind()
    scaled_objects: _Kind = _Kind()
    conflicts: Mapping[tuple[str, str], Autoscaler] = field(default_factory=dict)


# --- reverted writes -------------------------------------------------------------------------------------

MAX_REVERTS: Final = 3
"""So many reverts within ten minutes are a conflict."""

_WINDOW: Final = 600.0
_FIRST_PAUSE: Final = 300.0
_LONGEST_PAUSE: Final = 3600.0


_UNKNOWN: Final = "a client whose name the API server does not keep (kubectl scale, or an autoscaler)"


@dataclass(frozen=True, slots=True)
class Reverts:
    """Who reverts our writes. `written`: the replicas that we set last; `reverted_at`: when others changed
    them (monotonic seconds); `manager`: who did; `paused_until`: until then the workload is left to them.
    Pure: each method returns the next value."""

    written: int | None = None
    reverted_at: tuple[float, ...] = ()
    manager: str = ""
    paused_until: float = float("-inf")
    pause: float = _FIRST_PAUSE

    def after_write(self, replicas: int) -> Reverts:
        """This scaler has set the replicas."""
        return Reverts(replicas, self.reverted_at, self.manager, self.paused_until, self.pause)

    def without_write(self) -> Reverts:
        """Another scaler leads, or the result of a write is not known: a change may be our own."""
        return Reverts(None, self.reverted_at, self.manager, self.paused_until, self.pause)

    def reverted(self, workload: Workload) -> bool:
        """Whether somebody has changed the replicas since this scaler set them."""
        return self.written is not None and workload.replicas != self.written

    def after_read(self, now: float, workload: Workload) -> Reverts:
        """The workload was read. After MAX_REVERTS within ten minutes it is left alone for five minutes; for
        twice as long each time that this happens again, up to an hour."""
        if not self.reverted(workload):
            quiet = (
                self.reverted_at
                and now - self.reverted_at[-1] > _WINDOW
                and now > self.paused_until + _WINDOW
            )
            return Reverts(self.written) if quiet else self
        if workload.replicas == 0 and not workload.applied:
            return self.without_write()  # it was set to rest
        reverted_at = (*(at for at in self.reverted_at if now - at <= _WINDOW), now)
        owner = "another oxherd-scaler" if workload.owner == FIELD_MANAGER else workload.owner
        manager = owner or _UNKNOWN
        if len(reverted_at) < MAX_REVERTS:
            return Reverts(None, reverted_at, manager, self.paused_until, self.pause)
        return Reverts(None, (), manager, now + self.pause, min(_LONGEST_PAUSE, self.pause * 2))

    def contested(self, now: float) -> str | None:
        """Who reverts the replicas, while the workload is left alone; None otherwise."""
        if now >= self.paused_until:
            return None
        seconds = self.paused_until - now
        return (
            f"conflict: {self.manager} reverts the replicas again and again, paused for {seconds:.0f} s more"
        )
