"""Targets of the scaler in the test's cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from scaler.kube.target import KubernetesTarget
from scaler.model import NotApplied, Workers
from service.clock import Deadline
from service.outcome import Failed, Ok


@dataclass
class Leadership:
    """A fence with a fixed answer and a number of seconds."""

    leading: bool = True
    seconds: float = 60.0

    def bounded(self, deadline: Deadline) -> Deadline:
        return deadline.at_most(self.seconds if self.leading else 0.0)


TargetOf: TypeAlias = Callable[..., KubernetesTarget]


def soon() -> Deadline:
    return Deadline.after(5.0)


def read(target: KubernetesTarget) -> Workers:
    reading = target.read(soon())
    assert isinstance(reading, Ok), reading
    return reading.value


def failed(target: KubernetesTarget) -> Failed:
    outcome = target.read(soon())
    assert isinstance(outcome, Failed)
    return outcome


def refused(target: KubernetesTarget, old: int, new: int) -> NotApplied:
    outcome = target.scale(old, new, soon())
    assert isinstance(outcome, NotApplied)
    return outcome
