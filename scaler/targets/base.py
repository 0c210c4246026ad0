"""The interface of a target, as the controller uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from scaler.model import Applied, NotApplied, Workers
from service.clock import Deadline
from service.outcome import Outcome


class Target(Protocol):
    """Workers whose number can be read and set. No method raises for failures outside this process."""

    def read(self, deadline: Deadline, *, acts: bool = True) -> Outcome[Workers]:
        """The current state of the target; `acts`: its number may be set afterwards, which takes a right."""

    def idle(self, deadline: Deadline) -> Outcome[int] | None:
        """How many of the ready workers have no job, or why that cannot be read now; None: nobody tells.
        Asked before a scale-in."""

    def scale(self, old: int, new: int, deadline: Deadline) -> Applied | NotApplied:
        """Scale from `old`, as it was read, to `new`; if it is no longer `old`: a conflict, no change."""

    def start_times(self) -> tuple[float, ...]:
        """The last measured start times of its workers in seconds, to be kept over a restart."""

    def restore_start_times(self, seconds: Sequence[float]) -> None:
        """Begin with start times that were measured before. Called before the first `read`."""

    def close(self) -> None:
        """Release resources; of worker processes: terminate them."""
