"""Who else scales: autoscalers of the cluster, and whoever sets a workload back again and again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from scaler.kube.api import KubeApi
from scaler.kube.errors import KubeError
from scaler.kube.objects import FIELD_MANAGER, Json, Ref, Workload, conflicts_of
from service.clock import Deadline, monotonic

log = logging.getLogger(__name__)

_EVERY: Final = 60.0
_KEPT: Final = 600.0  # what was seen so long ago and could not be read since is no longer believed


class OtherAutoscalers:
    """The HPAs and ScaledObjects by the workload that they scale, looked at once a minute a namespace."""

    def __init__(self, api: KubeApi, every: float = _EVERY) -> None:
        self._api = api
        self._every = every
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._told: set[str] = set()

    def of(self, ref: Ref, deadline: Deadline) -> str | None:
        """Who scales the workload too; None for nobody, and for what cannot be known."""
        with self._lock:
            seen = self._seen.setdefault(ref.namespace, _Seen())
            if monotonic() - seen.tried >= self._every:
                self._look(ref.namespace, seen, deadline)
            return seen.conflicts.get((ref.kind, ref.name))

    def _look(self, namespace: str, seen: _Seen, deadline: Deadline) -> None:
        seen.tried = monotonic()
        hpas = self._list(self._api.autoscalers, namespace, deadline)
        keda = self._list(self._api.scaled_objects, namespace, deadline)
        if hpas is not None or keda is not None:
            seen.conflicts, seen.read = conflicts_of(hpas or (), keda or ()), monotonic()
        elif monotonic() - seen.read > _KEPT:
            seen.conflicts = {}

    def _list(
        self, ask: Callable[[str, Deadline], list[Json]], namespace: str, deadline: Deadline
    ) -> list[Json] | None:
        try:
            return ask(namespace, deadline)
        except KubeError as error:
            if error.kind == "not_found":  # no KEDA here
                return []
            if str(error) not in self._told and error.kind == "forbidden":
                self._told.add(str(error))
                log.warning("other autoscalers cannot be seen", extra={"error": str(error)})
            return None


@dataclass
class _Seen:
    tried: float = float("-inf")
    read: float = float("-inf")
    conflicts: Mapping[tuple[str, str], str] = field(default_factory=dict)


# --- set back again and again ----------------------------------------------------------------------------

MOVES: Final = 3
_WINDOW: Final = 600.0
_FIRST_PAUSE: Final = 300.0
_LONGEST_PAUSE: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Reverts:
    """What is remembered of a workload's number: the one we set last, when it was moved by others (monotonic
    seconds), and until when it is left to them. Pure: each method returns the next."""

    ours: int | None = None
    moved: tuple[float, ...] = ()
    by: str = ""
    until: float = float("-inf")
    pause: float = _FIRST_PAUSE

    def set(self, replicas: int) -> Reverts:
        """We have set it."""
        return Reverts(replicas, self.moved, self.by, self.until, self.pause)

    def released(self) -> Reverts:
        """Another of us leads, or a write may have been done or not: what is there may be our own work."""
        return Reverts(None, self.moved, self.by, self.until, self.pause)

    def seen(self, now: float, workload: Workload) -> Reverts:
        """It was read. Set back MOVES times within ten minutes, it is left alone for five; for twice as long
        each time it begins again, up to an hour."""
        if self.ours is None or workload.replicas == self.ours:
            quiet = self.moved and now - self.moved[-1] > _WINDOW and now > self.until + _WINDOW
            return Reverts(self.ours) if quiet else self
        moved = (*(at for at in self.moved if now - at <= _WINDOW), now)
        other = "another oxherd-scaler" if workload.owner == FIELD_MANAGER else workload.owner
        by = other or "someone"
        if len(moved) < MOVES:
            return Reverts(None, moved, by, self.until, self.pause)
        return Reverts(None, (), by, now + self.pause, min(_LONGEST_PAUSE, self.pause * 2))

    def contested(self, now: float) -> str | None:
        """Who sets it back, while it is left to them."""
        if now >= self.until:
            return None
        return f"set back again and again by {self.by}: left alone for {self.until - now:.0f} s more"
