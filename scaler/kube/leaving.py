"""How many pods may still be ending their jobs: those of a scale-in, and those that a rollout replaced. Pure.

They are no replicas of their workload any more, but their jobs are active until their grace period is over.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from scaler.kube.objects import Workload

_MOST: Final = 1000  # changes that are remembered: of an hour of steps of 5 s
_USUAL_GRACE: Final = 30.0  # where it is not known: Kubernetes' default


class LeavingPods:
    """Those of one workload. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._before: Workload | None = None
        self._gone: deque[tuple[float, int]] = deque(maxlen=_MOST)

    def update(self, workload: Workload, now: float) -> int:
        """As the server counts them; where it does not, as many as have gone within the grace period at most.

        In a rollout one that went is one of an earlier template that is not there any more.
        """
        before, self._before = self._before, workload
        if workload.terminating is not None:
            return workload.terminating
        if before is not None and before.uid == workload.uid:
            fewer = max(0, before.replicas - workload.replicas)
            gone = max(fewer, before.outdated - workload.outdated)
            if gone > 0:
                self._gone.append((now, gone))
        grace = _USUAL_GRACE if workload.grace_seconds is None else workload.grace_seconds
        while self._gone and now - self._gone[0][0] > grace:
            self._gone.popleft()
        return sum(gone for _, gone in self._gone)
