"""The check between a decision and a write: only the leader writes, and only while it leads."""

from __future__ import annotations

from typing import Protocol

from service.clock import Deadline


class Fence(Protocol):
    """Checked immediately before each write."""

    @property
    def leading(self) -> bool:
        """Whether this process is the leader and may write now."""

    def bounded(self, deadline: Deadline) -> Deadline:
        """The deadline, or the end of this process's leadership, whichever is earlier."""
