"""What the page shows of a scaler's status, read part by part. Pure.

A part that is not of the expected form is left out and named, and the others are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

MAX_TARGETS: Final = 1000
"""Targets that are shown; how many more there are is said."""

_LONGEST_NAME: Final = 500
_LONGEST_TEXT: Final = 2000
_LARGEST: Final = 1e15


class TargetReport(NamedTuple):
    """A target as the scaler reports it. None: it says nothing, or nothing that can be read. `reason` is its
    sentence or its error; `override` says who set the number, and why."""

    name: str
    current: float | None
    ready: float | None
    desired: float | None
    load_factor: float | None
    worker_utilization: float | None
    jobs_per_minute: float | None
    processing_seconds: float | None
    reason: str
    override: str


class ScalerReport(NamedTuple):
    """`odd`: the parts of the status that are not as expected, `targets[2].name` such."""

    enabled: bool
    targets: tuple[TargetReport, ...]
    left_out: int
    odd: tuple[str, ...]


def scaler_report(view: Mapping[str, Any]) -> ScalerReport:
    """Of whatever a server that calls itself a scaler answered."""
    odd: list[str] = []
    enabled = view.get("enabled", True)
    if not isinstance(enabled, bool):
        odd.append("enabled")
        enabled = True
    listed = view.get("targets", [])
    if not isinstance(listed, list):
        odd.append("targets")
        listed = []
    targets = []
    for index, target in enumerate(listed[:MAX_TARGETS]):
        report = _target(target, f"targets[{index}]", odd)
        if report is not None:
            targets.append(report)
    return ScalerReport(enabled, tuple(targets), len(listed) - len(targets), tuple(odd))


def _target(target: Any, path: str, odd: list[str]) -> TargetReport | None:
    if not isinstance(target, Mapping):
        odd.append(path)
        return None
    name = target.get("name")
    if not isinstance(name, str) or not name:
        odd.append(f"{path}.name")
        return None

    def part(holder: Mapping[str, Any], key: str, kind: type | tuple[type, ...], where: str = path) -> Any:
        """The value; None for one that is absent, null, or of another kind, which is noted."""
        value = holder.get(key)
        if value is None or (isinstance(value, kind) and not (kind is not bool and isinstance(value, bool))):
            return value
        odd.append(f"{where}.{key}")
        return None

    def number(key: str, holder: Mapping[str, Any] = target, where: str = path) -> float | None:
        value: float | None = part(holder, key, (int, float), where)
        if value is not None and not 0 <= value <= _LARGEST:
            odd.append(f"{where}.{key}")
            return None
        return value

    def text(key: str, holder: Mapping[str, Any] = target, where: str = path) -> str:
        return (part(holder, key, str, where) or "")[:_LONGEST_TEXT]

    activity = part(target, "activity", Mapping) or {}
    override = part(target, "override", Mapping) or {}
    said = [text(key, override, f"{path}.override") for key in ("by", "reason")] if override else []
    return TargetReport(
        name[:_LONGEST_NAME],
        number("current"),
        number("ready"),
        number("desired"),
        number("load_factor"),
        number("worker_utilization"),
        number("jobs_per_minute", activity, f"{path}.activity"),
        number("processing_seconds", activity, f"{path}.activity"),
        text("sentence") or text("error"),
        ": ".join(said) if override else "",
    )
