"""How long pods take to start, from the scale-outs of this scaler alone. Pure.

The API keeps only the last change of a pod's readiness. A pod that lost it and got it back looks as if it had
just started, so a pod counts only where that cannot be: it is one that this scaler asked for, and was seen
before it was ready, or was ready at the first look after it was asked for. Once fewer are ready than before,
it has to be seen again: a pod that got ready while another lost its readiness went unnoticed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from scaler.kube.objects import Pod
from service.quantiles import quantile

MAX_START_TIMES: Final = 50
MAX_START_SECONDS: Final = 600.0
"""A pod that takes longer counts as this: the policy looks no further ahead."""

_QUANTILE: Final = 0.9
_EXPECTED_SECONDS: Final = 3600.0  # pods that are not there or not ready by then are not waited for
_UNWATCHED_SECONDS: Final = 60.0  # after such a gap a pod that is ready may have become so again


@dataclass(slots=True)
class _ScaleOut:
    """`old` pods were there, `new` were asked for at `at` (monotonic s), `ready` were ready at the last look;
    `seen_at`: when the workload was read last; `unready`: names that were seen before they were ready;
    `lost`: since the pods were read last, some have lost their readiness."""

    old: int
    new: int
    at: float
    ready: int
    seen_at: float
    unready: set[str] = field(default_factory=set)
    lost: bool = False


class StartTimes:
    """The last start times, and the scale-out whose pods are awaited. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=MAX_START_TIMES)
        self._counted: set[str] = set()
        self._pending: _ScaleOut | None = None

    @property
    def seconds(self) -> tuple[float, ...]:
        """From scheduled to first ready, the oldest first, at most MAX_START_TIMES."""
        return tuple(self._seconds)

    def restore(self, seconds: Sequence[object]) -> None:
        """Take over what was measured before. Values that are no start times are dropped."""
        self._seconds.clear()
        self._seconds.extend(
            float(min(value, MAX_START_SECONDS))
            for value in seconds
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < inf
        )

    @property
    def quantile(self) -> float | None:
        """The 0.9-quantile; None if none is known."""
        return quantile(self._seconds, _QUANTILE)

    def scaled(self, old: int, new: int, ready: int, now: float) -> None:
        """This scaler has set the number from `old` to `new`, while `ready` pods were ready."""
        self._pending = _ScaleOut(old, new, now, ready, now) if new > old else None

    def forget(self) -> None:
        """Wait for no pods any more."""
        self._pending = None

    def due(self, requested: int, ready: int, now: float) -> bool:
        """Whether the pods have to be read: more are ready than at the last look."""
        pending = self._pending
        if pending is None:
            return False
        if requested != pending.new or now - pending.at > _EXPECTED_SECONDS:
            self._pending = None  # others have changed the number: these are not our pods
            return False
        if ready < pending.ready:
            pending.unready.clear()
            pending.lost = True
        if ready <= pending.ready:
            pending.ready = ready
            pending.seen_at = now
            return False
        return True

    def learn(self, pods: Iterable[Pod], ready: int, now: float) -> None:
        """The pods of the workload, and how many of them were ready just before."""
        pending = self._pending
        if pending is None:
            return
        present = sorted((pod for pod in pods if not pod.ending), key=lambda pod: pod.created)
        ours = present[pending.old :][-(pending.new - pending.old) :]
        watched = now - pending.seen_at <= _UNWATCHED_SECONDS and not pending.lost
        for pod in ours:
            if pod.name in self._counted:
                continue
            if not pod.ready:
                pending.unready.add(pod.name)
            elif pod.start_seconds is not None and (watched or pod.name in pending.unready):
                self._seconds.append(min(pod.start_seconds, MAX_START_SECONDS))
                self._counted.add(pod.name)
        pending.ready, pending.seen_at, pending.lost = ready, now, False
        self._counted &= {pod.name for pod in present}
        if ready >= pending.new and all(pod.ready for pod in ours):
            self._pending = None
