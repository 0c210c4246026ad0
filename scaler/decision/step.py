"""One decision for one target: the policy, then the guards. Pure; what is remembered is a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scaler.decision import guards
from scaler.decision.guards import GuardMemory, fresh, guard
from scaler.decision.policies import POLICIES
from scaler.model import Control, Decision, Missing, Observation
from scaler.settings import PolicySettings


@dataclass(frozen=True, slots=True)
class TargetMemory:
    """What the policy of that name and the guards remember of one target."""

    policy: str
    learned: Any
    guards: GuardMemory


def begin(settings: PolicySettings) -> TargetMemory:
    """The memory of a target that was never looked at."""
    return TargetMemory(settings.policy, POLICIES[settings.policy].begin(), GuardMemory())


def step(
    settings: PolicySettings,
    interval: float,
    seen: Observation,
    control: Control,
    memory: TargetMemory | None,
) -> tuple[Decision, TargetMemory]:
    """The decision, and what to remember until the next one, `interval` seconds later.

    Under another policy than the memory's, what the old one learned is dropped; the guards remember on.
    """
    policy = POLICIES[settings.policy]
    if memory is None or memory.policy != settings.policy:
        kept = GuardMemory() if memory is None else memory.guards
        memory = TargetMemory(settings.policy, policy.begin(), kept)
    sample, proposal, learned = fresh(settings, seen), None, memory.learned
    if not isinstance(sample, Missing):
        proposal, learned = policy.decide(settings, interval, seen, sample, learned)
    decision, remembered = guard(settings, seen, proposal, control, memory.guards)
    return decision, TargetMemory(settings.policy, learned, remembered)


def acted(memory: TargetMemory, at: float) -> TargetMemory:
    """The target took another number at `at`: cooldowns count from there."""
    return TargetMemory(memory.policy, memory.learned, guards.changed(memory.guards, at))


def dump_memory(memory: TargetMemory) -> dict[str, Any]:
    """The memory as JSON data."""
    learned = POLICIES[memory.policy].dump(memory.learned)
    return {"policy": memory.policy, "learned": learned, "guards": guards.dump_guards(memory.guards)}


def load_memory(data: Mapping[str, Any]) -> TargetMemory:
    """The memory of such data. Raises ValueError for what `dump_memory` never wrote."""
    policy = data.get("policy")
    if not isinstance(policy, str) or policy not in POLICIES:
        raise ValueError(f"there is no policy {policy!r}")
    learned, remembered = data.get("learned"), data.get("guards")
    if not isinstance(learned, dict) or not isinstance(remembered, dict):
        raise ValueError("not what a target's memory looks like")  # noqa: TRY004  # it is data
    return TargetMemory(policy, POLICIES[policy].load(learned), guards.load_guards(remembered))
