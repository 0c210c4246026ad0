"""One decision for one target: the policy, then the guards. Pure; the memory is a value.

The line between the two: the policy says how many workers the jobs need; it knows nothing of missing metrics,
people, other controllers and bounds. The guards know only those, and what a change may look like: they keep
the workers that have a job, for every policy. Only a person's override sends those away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from scaler.config.settings import PolicySettings
from scaler.decision.belief import fresh_sample, jump_of
from scaler.decision.guards import apply_guards
from scaler.decision.memory import GuardMemory, dump_guards, load_guards, record_change
from scaler.decision.policies import POLICIES
from scaler.model import Control, Decision, Missing, Observation


class TargetMemory(NamedTuple):
    """The memory of one target: that of the policy with this name, and that of the guards."""

    policy: str
    learned: Any
    guards: GuardMemory


def initial_memory(settings: PolicySettings) -> TargetMemory:
    """The memory of a target before its first step."""
    return TargetMemory(settings.policy, POLICIES[settings.policy].initial_memory(), GuardMemory())


def step(
    settings: PolicySettings,
    interval: float,
    observation: Observation,
    control: Control,
    memory: TargetMemory | None,
) -> tuple[Decision, TargetMemory]:
    """The decision, and the memory for the next one, `interval` seconds later.

    If the policy has changed, what the old one learned is dropped; the memory of the guards is kept.
    """
    policy = POLICIES[settings.policy]
    if memory is None or memory.policy != settings.policy:
        guard_memory = GuardMemory() if memory is None else memory.guards
        memory = TargetMemory(settings.policy, policy.initial_memory(), guard_memory)
    sample, proposal, learned = fresh_sample(settings, observation, memory.guards), None, memory.learned
    doubt = None
    if not isinstance(sample, Missing):
        proposal, learned = policy.decide(settings, interval, observation, sample, learned)
        doubt = jump_of(settings, observation, proposal, memory.guards)
        if doubt is not None:
            proposal, learned = None, memory.learned
    decision, guard_memory = apply_guards(
        settings, observation, proposal, control, memory.guards, doubt=doubt, sample=sample
    )
    return decision, TargetMemory(settings.policy, learned, guard_memory)


def record_scaling(memory: TargetMemory, at: float, workers: int | None = None) -> TargetMemory:
    """The memory after the target was scaled at `at`: cooldowns count from there. `workers`: the number, if
    this scaler has set it."""
    return TargetMemory(memory.policy, memory.learned, record_change(memory.guards, at, workers))


def with_number_of(memory: TargetMemory, other: TargetMemory | None) -> TargetMemory:
    """The memory with the number that the other one knows: of the leader before, or of a new workload."""
    known = GuardMemory() if other is None else other.guards
    changed = memory.guards._replace(workers=known.workers, resting=known.resting)
    return memory._replace(guards=changed)


def dump_memory(memory: TargetMemory) -> dict[str, Any]:
    """The memory as JSON data."""
    learned = POLICIES[memory.policy].dump(memory.learned)
    return {"policy": memory.policy, "learned": learned, "guards": dump_guards(memory.guards)}


def load_memory(data: Mapping[str, Any]) -> TargetMemory:
    """The memory from its JSON data. Raises ValueError for data that `dump_memory` did not write."""
    policy = data.get("policy")
    if not isinstance(policy, str) or policy not in POLICIES:
        raise ValueError(f"there is no policy {policy!r}")
    learned, guard_memory = data.get("learned"), data.get("guards")
    if not isinstance(learned, dict) or not isinstance(guard_memory, dict):
        raise ValueError("invalid memory of a target")  # noqa: TRY004  # it is data
    return TargetMemory(policy, POLICIES[policy].load(learned), load_guards(guard_memory))
