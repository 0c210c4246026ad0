"""What can be scaled. Adding a kind is adding a row to TARGETS and a field to TargetSettings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from scaler.settings import TargetSettings
from scaler.targets.base import Target
from scaler.targets.processes import ProcessTarget


def _processes(target: TargetSettings) -> Target:
    if target.processes is None:
        raise ValueError(f"{target.name} has no processes")
    return ProcessTarget(target.name, target.processes)


TARGETS: Final[Mapping[str, Callable[[TargetSettings], Target]]] = {"processes": _processes}


def make_target(target: TargetSettings) -> Target:
    """The target of these settings, which name exactly one kind."""
    return next(make(target) for kind, make in TARGETS.items() if getattr(target, kind) is not None)
