"""What was learned of a target, as it survives a restart. Pure.

The parts are keys of one object: a version that does not know one of them leaves it out, and lacks nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from scaler.decision.step import TargetMemory, dump_memory, load_memory
from scaler.model import Stalled

_LONGEST_START: Final = 86400.0
_MOST: Final = 1e15  # jobs, a time
_MOST_STALLED: Final = 40  # entries: all of the last minutes, and the newest of longer runs
_MOST_START_TIMES: Final = 20  # of a thousand targets they have to fit into a ConfigMap


@dataclass(frozen=True, slots=True)
class Learned:
    """The memory of its decisions, the last start times of its workers (seconds, the newest last), the
    `workers` that were requested last (None: not known), and the jobs that `stalled` and may still run."""

    memory: TargetMemory | None = None
    start_times: tuple[float, ...] = ()
    workers: int | None = None
    stalled: Stalled = ()


def dump_learned(learned: Learned) -> dict[str, Any]:
    """As JSON data."""
    data = {} if learned.memory is None else dump_memory(learned.memory)
    data["start_times"] = [round(seconds, 2) for seconds in learned.start_times[-_MOST_START_TIMES:]]
    data["workers"] = learned.workers
    if learned.stalled:
        data["stalled"] = [list(entry) for entry in learned.stalled[-_MOST_STALLED:]]
    return data


def load_learned(data: Mapping[str, Any]) -> tuple[Learned, list[str]]:
    """From its JSON data, and a line for each part that is invalid and left out."""
    problems: list[str] = []
    memory = None
    if "policy" in data:
        try:
            memory = load_memory(data)
        except ValueError as error:
            problems.append(str(error))
    start_times = data.get("start_times", [])
    if not isinstance(start_times, list) or not all(map(_is_start_time, start_times)):
        problems.append("start_times: should be a list of seconds")
        start_times = []
    workers = data.get("workers")
    if workers is not None and not (type(workers) is int and workers >= 0):
        problems.append("workers: should be a number of workers, or null")
        workers = None
    stalled = data.get("stalled", [])
    if not isinstance(stalled, list) or not all(map(_is_stalled, stalled)):
        problems.append("stalled: should be a list of times and numbers of jobs")
        stalled = []
    entries = tuple((float(until), float(jobs)) for until, jobs in stalled[-_MOST_STALLED:])
    return Learned(memory, tuple(map(float, start_times[-_MOST_START_TIMES:])), workers, entries), problems


def _is_stalled(value: object) -> bool:
    """A time in unix seconds, and a number of jobs."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(part, int | float) and 0 <= part <= _MOST for part in value)
    )


def _is_start_time(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= _LONGEST_START
