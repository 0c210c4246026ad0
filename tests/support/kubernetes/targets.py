"""Targets of the scaler in the test's cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from scaler.kube.target import KubernetesTarget
from scaler.model import Workers
from service.clock import Deadline
from service.outcome import Ok


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
