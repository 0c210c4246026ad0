"""The policy of waiting jobs: up when too many wait or the workers are full, down when few wait.

It scales in at full load as soon as few jobs wait, and then out again: `wait_target` does not oscillate so.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

from pydantic import TypeAdapter

from scaler.config.settings import PolicySettings
from scaler.decision.load_factor import target_load_factor
from scaler.decision.memory import ImpossibleMemoryError, memory_of
from scaler.decision.policies.concurrency import (
    Concurrency,
    concurrency_is_possible,
    ready_workers,
    update_concurrency,
    worker_slots,
)
from scaler.decision.policies.sentences import stalled_text
from scaler.decision.policies.throttle import FULL
from scaler.model import Observation, Proposal, QueueSample

_FULL: Final = 0.8
_IDLE: Final = 0.2


_MEMORY: Final = TypeAdapter(Concurrency)


class Threshold:
    """The policy `threshold`; it remembers the measured concurrency of a worker only."""

    def initial_memory(self) -> Concurrency:
        return Concurrency()

    def decide(
        self,
        settings: PolicySettings,
        interval: float,
        observation: Observation,
        sample: QueueSample,
        memory: Concurrency,
    ) -> tuple[Proposal, Concurrency]:
        del interval
        memory = update_concurrency(memory, observation, sample)
        slots = worker_slots(settings, memory, sample)
        ready = ready_workers(observation)
        active, sample = sample.active, sample.with_running(ready * slots)
        stalled = sample.active - active
        now, waiting = observation.workers, sample.runnable
        target = settings.target_waiting_jobs
        load = target_load_factor(settings, sample, now)
        needed = ceil(waiting / target)
        to_target = settings.scaling_step == "to_target"
        inputs = {"waiting": waiting, "active": active, "load_factor": load, "target_waiting": target}
        if stalled > 0:
            inputs["stalled"] = stalled

        def propose(workers: int, reason: str, sentence: str) -> tuple[Proposal, Concurrency]:
            if stalled > 0:
                sentence += f"; {stalled_text(stalled)}"
            return Proposal(workers, reason, sentence, inputs, slots), memory

        up = max(now + 1, needed) if to_target else now + 1
        # A limit of the workers tells only that its window runs: beside full slots it is not closed.
        free = sample.active < FULL * ready * slots
        if waiting > 0 and sample.limit_seconds and free:
            sentence = f"{waiting:g} jobs wait for a rate limit, for {sample.limit_seconds:.0f} s more"
            return propose(now, "throttled", sentence)
        if waiting > 0 and sample.concurrency_limit is not None:
            most = ceil(sample.concurrency_limit / slots)
            if most < up:
                sentence = (
                    f"{waiting:g} jobs wait, and no more than {sample.concurrency_limit:g} may run at once"
                )
                return propose(most, "throttled", sentence)
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

    def dump(self, memory: Concurrency) -> dict[str, Any]:
        return memory._asdict()

    def load(self, data: Mapping[str, Any]) -> Concurrency:
        if data.keys() - set(Concurrency._fields):
            raise ValueError("invalid memory of threshold")
        try:
            memory = memory_of(_MEMORY, data)
        except ImpossibleMemoryError:
            raise ValueError("invalid memory of threshold") from None
        if not concurrency_is_possible(memory):
            raise ValueError("invalid memory of threshold")
        return memory
