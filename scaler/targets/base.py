"""What the controller needs of something that can be scaled."""

from __future__ import annotations

from typing import Protocol

from scaler.model import Applied, NotApplied, Workers
from service.clock import Deadline
from service.outcome import Outcome


class Target(Protocol):
    """Workers whose number can be read and set. No method raises for what the outside world may do."""

    def read(self, deadline: Deadline) -> Outcome[Workers]:
        """The target as it is now."""

    def scale(self, old: int, new: int, deadline: Deadline) -> Applied | NotApplied:
        """From `old`, as it was read, to `new`; nothing is changed where it is no longer `old`."""

    def close(self) -> None:
        """Let go of what is held; of processes: end them."""
