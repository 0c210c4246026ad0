"""What every policy is: a pure function of what is seen and of a memory that can be saved."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from scaler.model import Observation, Proposal, QueueSample
from scaler.settings import PolicySettings

M = TypeVar("M")


class Policy(Protocol[M]):
    """`M` is a frozen value; `dump` makes JSON data of it and `load` the same value again."""

    def begin(self) -> M:
        """The memory of one that has seen nothing yet."""

    def decide(
        self, settings: PolicySettings, interval: float, seen: Observation, sample: QueueSample, memory: M
    ) -> tuple[Proposal, M]:
        """How many workers, and what to remember. `interval` is the seconds between two steps, `sample` is
        `seen.sample`, which is there: a policy is not asked about what is missing."""

    def dump(self, memory: M) -> dict[str, Any]:
        """The memory as JSON data."""

    def load(self, data: dict[str, Any]) -> M:
        """The memory of such data. Raises ValueError for what `dump` never wrote."""
