"""The limits of a container: cgroup v2 and v1, from the text of their files. Without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

FILES: Final = (
    "memory.max",
    "memory.current",
    "memory.stat",
    "cpu.max",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
)
"""The files read from a group's directories, with the names of v2 and v1."""


_MOST_DIGITS: Final = 20  # the kernel's numbers have no more


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and cores; None if the group sets no limit or does not report it."""

    memory: int | None = None
    memory_used: int | None = None
    cpus: float | None = None


def group_paths(proc_self_cgroup: str) -> dict[str, str]:
    """/proc/self/cgroup as controller -> path; v2's single line has the controller "".

    >>> group_paths("0::/system.slice/oxherd.service")
    {'': '/system.slice/oxherd.service'}
    """
    paths = {}
    for line in proc_self_cgroup.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            for controller in parts[1].split(","):
                paths[controller] = parts[2]
    return paths


def limits(files: Mapping[str, str]) -> Limits:
    """The limits of one group from the text of its files. Used memory does not include the page cache that
    can be dropped, as kubelet counts it."""
    stat = _stat(files.get("memory.stat", ""))
    memory = _number(files.get("memory.max") or files.get("memory.limit_in_bytes"))
    current = _number(files.get("memory.current") or files.get("memory.usage_in_bytes"))
    droppable = stat.get("total_inactive_file", stat.get("inactive_file", 0))
    used = None if current is None else max(0, current - droppable)
    return Limits(memory, used, _cpus(files))


def tightest(groups: list[Limits]) -> Limits:
    """The limits of the innermost of nested groups: its own, or a lower one of a parent group."""
    with_memory = [group for group in groups if group.memory is not None]
    cpus = [group.cpus for group in groups if group.cpus is not None]
    memory = min(with_memory, key=lambda group: group.memory or 0, default=Limits())
    return Limits(memory.memory, memory.memory_used, min(cpus, default=None))


def _cpus(files: Mapping[str, str]) -> float | None:
    quota, period = [*files.get("cpu.max", "").split(), "", ""][:2]
    if not quota:
        quota, period = files.get("cpu.cfs_quota_us", ""), files.get("cpu.cfs_period_us", "")
    quota_us, period_us = _number(quota), _number(period)
    return quota_us / period_us if quota_us is not None and period_us and quota_us > 0 else None


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def _stat(text: str) -> dict[str, int]:
    pairs = (line.split(" ", 1) for line in text.splitlines() if " " in line)
    return {name: number for name, rest in pairs if (number := _number(rest)) is not None}
