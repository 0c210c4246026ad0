"""What the controller of Deployments does in one look, as a plan: which pods it creates and deletes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, Final

from tests.support.kubernetes.patches import Json

_DEADLINE: Final = 600.0
TEMPLATE: Final = "pod-template-hash"


@dataclass
class Rollout:
    """What is remembered of a Deployment between two looks: `most` pods it might have, and since when nothing
    has moved (monotonic s)."""

    most: int = 0
    moved_at: float = 0.0
    figures: tuple[int, ...] = ()


@dataclass(frozen=True)
class Counted:
    """The pods of one template: how many there are, and how many are available."""

    pods: int
    available: int


@dataclass(frozen=True)
class Plan:
    """How many pods to create of the new template, and of the old ones; below 0: to delete."""

    new: int = 0
    old: int = 0


def template_hash(workload: Json) -> str:
    text = json.dumps(workload["spec"].get("template", {}), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def bounds(spec: Json) -> tuple[int, int]:
    """Surge and unavailable pods: 25 % each, or as they are set."""
    rolling = spec.get("strategy", {}).get("rollingUpdate") or {}
    replicas = spec.get("replicas", 1)
    surge = part_of(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = part_of(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    return surge, unavailable if surge or unavailable else 1


def part_of(value: Any, whole: int, *, up: bool) -> int:
    """A number or a percentage."""
    if isinstance(value, int):
        return value
    part = whole * int(value.rstrip("%")) / 100
    return ceil(part) if up else floor(part)


def plan(spec: Json, rollout: Rollout, new: Counted, old: Counted, *, leaving: int) -> Plan:
    """One look: a changed number is divided over both templates; then the rollout goes on."""
    replicas = spec.get("replicas", 1)
    surge, unavailable = bounds(spec)
    before, rollout.most = rollout.most, replicas + surge
    if not old.pods:
        waits = _recreates(spec) and new.pods == 0 and leaving and before
        return Plan() if waits else Plan(replicas - new.pods)
    if not new.pods and spec.get("paused"):  # it waits to be rolled out
        return Plan(old=replicas - old.pods)
    if new.pods and before and before != rollout.most:
        return _divided(new.pods, old.pods, before, rollout.most if replicas else 0)
    if spec.get("paused"):
        return Plan()
    if _recreates(spec):
        return Plan(old=-old.pods)
    more = min(replicas, replicas + surge - old.pods) - new.pods
    spare = new.pods + old.pods - (replicas - unavailable) - (new.pods - new.available)
    broken = min(old.pods - old.available, max(0, spare))
    whole = min(old.available, max(0, new.available + old.available - (replicas - unavailable)))
    return Plan(max(0, more), -min(old.pods, max(broken, min(whole + broken, max(0, spare)))))


def _recreates(spec: Json) -> bool:
    return bool(spec.get("strategy", {}).get("type") == "Recreate")


def _divided(new: int, old: int, before: int, after: int) -> Plan:
    """In proportion; the larger one has what is left over."""
    shares = {"new": round(new * after / before), "old": round(old * after / before)}
    larger = "new" if new > old else "old"
    shares[larger] = max(0, shares[larger] + after - sum(shares.values()))
    return Plan(shares["new"] - new, shares["old"] - old)


def status_of(
    workload: Json, rollout: Rollout, new: Counted, old: Counted, *, ready: int, leaving: int, now: float
) -> Json:
    """Numbers that are 0 are absent, but that of terminating pods."""
    spec = workload["spec"]
    replicas = spec.get("replicas", 1)
    figures = (new.pods, new.available, old.pods)
    if figures != rollout.figures:
        rollout.figures, rollout.moved_at = figures, now
    numbers = {
        "replicas": new.pods + old.pods,
        "updatedReplicas": new.pods,
        "readyReplicas": ready,
        "availableReplicas": new.available + old.available,
        "unavailableReplicas": max(0, replicas - new.available - old.available),
    }
    state, reason = "True", "NewReplicaSetAvailable"
    if old.pods or (new.available < replicas and spec.get("strategy", {}).get("type") == "Recreate"):
        deadline = spec.get("progressDeadlineSeconds", _DEADLINE)
        state, reason = "True", "ReplicaSetUpdated"
        if spec.get("paused"):
            state, reason = "Unknown", "DeploymentPaused"
        elif now - rollout.moved_at >= deadline:
            state, reason = "False", "ProgressDeadlineExceeded"
    return {
        **{name: number for name, number in numbers.items() if number},
        "terminatingReplicas": leaving,
        "observedGeneration": workload["metadata"].get("generation", 1),
        "conditions": [{"type": "Progressing", "status": state, "reason": reason}],
    }


# --- disruption budgets ----------------------------------------------------------------------------------


def evictions_allowed(budget: Json, *, expected: int, healthy: int) -> int:
    """How many of its pods may be evicted now."""
    spec = budget["spec"]
    if "maxUnavailable" in spec:
        desired = expected - part_of(spec["maxUnavailable"], expected, up=True)
    else:
        desired = part_of(spec["minAvailable"], expected, up=True)
    return max(0, healthy - desired)
