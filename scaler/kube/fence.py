"""What stands between a decision and a write: only the scaler that leads writes, and only while it does."""

from __future__ import annotations

from typing import Protocol

from service.clock import Deadline


class Fence(Protocol):
    """Asked at the last moment before each write."""

    @property
    def leading(self) -> bool:
        """Whether this process may write now."""

    def bounded(self, deadline: Deadline) -> Deadline:
        """The deadline, or the end of the time in which this process may write, whichever is earlier."""
