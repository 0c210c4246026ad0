"""Which declared targets are taken beside those of the settings: each workload and each queue once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from scaler.config.globs import globs_overlap
from scaler.config.scaled_queue import field_of
from scaler.config.settings import ScalerSettings, TargetSettings, is_glob
from scaler.config.target_checks import idle_problem, policy_problem, slo_problem

Refusal: TypeAlias = Literal["SpecInvalid", "WorkloadTaken", "QueueTaken", "TooMany"]


class DeclaredTarget(NamedTuple):
    """A target as it is declared. `created` orders those that exclude each other; `target` is None where it
    cannot be read, which `problem` explains; `before` is the one that was taken last, if any."""

    created: str
    name: str
    target: TargetSettings | None
    problem: str = ""
    before: TargetSettings | None = None


class Admission(NamedTuple):
    """Of one candidate. `target`: what is scaled, None: nothing; `reason` and `sentence` are empty where that
    is what is declared now."""

    target: TargetSettings | None
    reason: Refusal | Literal[""] = ""
    sentence: str = ""


def admit(
    settings: ScalerSettings, candidates: Iterable[DeclaredTarget], most: int, *, home: str | None = None
) -> Mapping[str, Admission]:
    """By name. The settings' targets count more than all others, and older ones more than later ones; of one
    that is not valid now the last valid one stays. At most so many are taken. `home`: the namespace of
    targets without one."""
    taken = _Taken(settings, home)
    admissions: dict[str, Admission] = {}
    places = most
    for candidate in sorted(candidates, key=lambda one: (one.created, one.name)):
        admission = _admission(settings, taken, candidate) if places > 0 else _too_many(most)
        if admission.target is not None:
            taken.add(admission.target)
            places -= 1
        admissions[candidate.name] = admission
    return admissions


def _admission(settings: ScalerSettings, taken: _Taken, candidate: DeclaredTarget) -> Admission:
    problem = candidate.problem or _problem(settings, candidate.target)
    target = candidate.target
    if problem:
        target = candidate.before
        if target is None or _problem(settings, target):
            return Admission(None, "SpecInvalid", f"{problem}; nothing is scaled")
    if target is None:
        return Admission(None, "SpecInvalid", "spec: is missing; nothing is scaled")
    if (owner := taken.workload_owner(target)) is not None:
        return Admission(None, "WorkloadTaken", f"spec.targetRef: {owner} scales this workload already")
    if (served := taken.queue_owner(target)) is not None:
        return Admission(None, "QueueTaken", f"spec.queues: {served}")
    if problem:
        return Admission(target, "SpecInvalid", f"{problem}; the last valid spec stays in force")
    return Admission(target)


def _too_many(most: int) -> Admission:
    why = f"there are more ScaledQueues than kubernetes.scaled_queues.max_objects, which is {most}"
    return Admission(None, "TooMany", f"{why}; the oldest have a place")


def _problem(settings: ScalerSettings, target: TargetSettings | None) -> str:
    if target is None:
        return ""
    problem = policy_problem(settings, target) or slo_problem(target) or idle_problem(settings, target)
    return f"{field_of(problem.key)}: {problem.why}" if problem else ""


class _Taken:
    """The workloads and queues that have a target. Names are looked up, patterns compared one by one."""

    def __init__(self, settings: ScalerSettings, home: str | None) -> None:
        self._home = home
        self._workloads: dict[tuple[str, str, str | None, str], str] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._patterns: dict[str, list[tuple[str, str]]] = {}
        for target in settings.targets:
            self.add(target)

    def add(self, target: TargetSettings) -> None:
        if target.kubernetes is not None:
            self._workloads[target.kubernetes.workload(self._home)] = target.name
        for queue in target.queues:
            if is_glob(queue):
                self._patterns.setdefault(target.prefix, []).append((queue, target.name))
            else:
                self._names[target.prefix, queue] = target.name

    def workload_owner(self, target: TargetSettings) -> str | None:
        """The target that scales its workload."""
        return self._workloads.get(target.kubernetes.workload(self._home)) if target.kubernetes else None

    def queue_owner(self, target: TargetSettings) -> str | None:
        """Which target serves one of its queues, as a sentence."""
        for queue in target.queues:
            if (owner := self._names.get((target.prefix, queue))) is not None:
                return f"{owner} serves {queue} already"
            for served, owner in self._rivals(target.prefix, queue):
                if globs_overlap(served, queue):
                    return f"{owner} serves {served}: a queue of it and of {queue} would be counted twice"
        return None

    def _rivals(self, prefix: str, queue: str) -> Sequence[tuple[str, str]]:
        patterns = self._patterns.get(prefix, [])
        if not is_glob(queue):
            return patterns
        names = [(name, owner) for (of, name), owner in self._names.items() if of == prefix]
        return [*patterns, *names]
