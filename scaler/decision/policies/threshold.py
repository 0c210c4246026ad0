"""The policy of waiting jobs: up when too many wait or the workers are full, down when few wait.

It scales in at full load as soon as few jobs wait, and then out again: `wait_target` does not oscillate so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from scaler.config.settings import PolicySettings
from scaler.decision.load_factor import target_load_factor
from scaler.model import Observation, Proposal, QueueSample

_FULL: Final = 0.8
_IDLE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Nothing:
    """The empty memory of this policy."""


class Threshold:
    """The policy `threshold`."""

    def initial_memory(self) -> Nothing:
        return Nothing()

    def decide(
        self,
        settings: PolicySettings,
        interval: float,
        observation: Observation,
        sample: QueueSample,
        memory: Nothing,
    ) -> tuple[Proposal, Nothing]:
        del interval
        now, waiting = observation.workers, sample.waiting
        target = settings.target_waiting_jobs
        load = target_load_factor(settings, sample, now)
        needed = ceil(waiting / target)
        to_target = settings.scaling_step == "to_target"
        inputs = {"waiting": waiting, "active": sample.active, "load_factor": load, "target_waiting": target}

        def propose(workers: int, reason: str, sentence: str) -> tuple[Proposal, Nothing]:
            return Proposal(workers, reason, sentence, inputs), memory

        up = max(now + 1, needed) if to_target else now + 1
        if waiting > target * settings.scale_up_threshold:
            bound = target * settings.scale_up_threshold
            return propose(up, "waiting", f"{waiting:g} jobs wait, more than {bound:g}")
        if load > _FULL and waiting > 0:
            return propose(up, "load", f"load factor {load:.2f} is over {_FULL} and {waiting:g} jobs wait")
        down = max(0, now - 1)
        if waiting == 0 and load < _IDLE:
            return propose(down, "idle", f"no jobs wait and load factor {load:.2f} is under {_IDLE}")
        if waiting < target * settings.scale_down_threshold:
            bound = target * settings.scale_down_threshold
            return propose(down, "few_waiting", f"{waiting:g} jobs wait, fewer than {bound:g}")
        return propose(now, "enough", f"{waiting:g} jobs wait and load factor is {load:.2f}: no change")

    def dump(self, memory: Nothing) -> dict[str, Any]:
        del memory
        return {}

    def load(self, data: Mapping[str, Any]) -> Nothing:
        if data:
            raise ValueError("invalid memory of threshold")
        return Nothing()
