"""The rule of waiting jobs: up when too many wait or the workers are full, down when few wait.

It scales in at full load as soon as few jobs wait, and then out again: `wait_target` does not saw so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from scaler.decision.load_factor import target_load_factor
from scaler.model import Observation, Proposal, QueueSample
from scaler.settings import PolicySettings

_FULL: Final = 0.8
_IDLE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Nothing:
    """This policy remembers nothing."""


class Threshold:
    """The policy `threshold`."""

    def begin(self) -> Nothing:
        return Nothing()

    def decide(
        self,
        settings: PolicySettings,
        interval: float,
        seen: Observation,
        sample: QueueSample,
        memory: Nothing,
    ) -> tuple[Proposal, Nothing]:
        del interval
        now, waiting = seen.workers, sample.waiting
        target = settings.target_waiting_jobs
        load = target_load_factor(settings, sample, now)
        needed = ceil(waiting / target)
        jump = settings.scaling_step == "to_target"
        inputs = {"waiting": waiting, "active": sample.active, "load_factor": load, "target_waiting": target}

        def wants(workers: int, reason: str, sentence: str) -> tuple[Proposal, Nothing]:
            return Proposal(workers, reason, sentence, inputs), memory

        up = max(now + 1, needed) if jump else now + 1
        if waiting > target * settings.scale_up_threshold:
            bound = target * settings.scale_up_threshold
            return wants(up, "waiting", f"{waiting:g} jobs wait, more than {bound:g}")
        if load > _FULL and waiting > 0:
            return wants(up, "load", f"load factor {load:.2f} is over {_FULL} and {waiting:g} jobs wait")
        down = max(0, now - 1)
        if waiting == 0 and load < _IDLE:
            return wants(down, "idle", f"no job waits and load factor {load:.2f} is under {_IDLE}")
        if waiting < target * settings.scale_down_threshold:
            bound = target * settings.scale_down_threshold
            return wants(down, "few_waiting", f"{waiting:g} jobs wait, fewer than {bound:g}")
        return wants(
            now, "enough", f"{waiting:g} jobs wait and load factor is {load:.2f}: neither up nor down"
        )

    def dump(self, memory: Nothing) -> dict[str, Any]:
        del memory
        return {}

    def load(self, data: Mapping[str, Any]) -> Nothing:
        if data:
            raise ValueError("not what threshold remembered")
        return Nothing()
