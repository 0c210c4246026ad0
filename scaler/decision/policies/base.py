"""The interface of policies: pure functions of an observation and of a memory that can be saved."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from scaler.config.settings import PolicySettings
from scaler.model import Observation, Proposal, QueueSample

M = TypeVar("M")


class Policy(Protocol[M]):
    """`M` is a frozen value; `dump` converts it to JSON data and `load` back."""

    def initial_memory(self) -> M:
        """The memory before the first observation."""

    def decide(
        self,
        settings: PolicySettings,
        interval: float,
        observation: Observation,
        sample: QueueSample,
        memory: M,
    ) -> tuple[Proposal, M]:
        """The proposal, and the next memory. `interval` is the seconds between two steps, `sample` is
        `observation.sample`: a policy is not called without one."""

    def dump(self, memory: M) -> dict[str, Any]:
        """The memory as JSON data."""

    def load(self, data: dict[str, Any]) -> M:
        """The memory from its JSON data. Raises ValueError for data that `dump` did not write."""
