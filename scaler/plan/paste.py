"""The settings of a plan, as an entry of `targets` to paste. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import yaml

from scaler.config.settings import PolicySettings
from scaler.plan.make import TargetPlan
from service.units import printable

_HIDDEN: Final = "environment"


def planned_keys(plan: TargetPlan, policy: PolicySettings) -> dict[str, Any]:
    """The keys of the policy that the plan sets; `policy`: the target's as it is."""
    bounds = plan.bounds
    keys: dict[str, Any] = {} if policy.policy == "wait_target" else {"policy": "wait_target"}
    keys |= {
        "min_workers": bounds.min_workers,
        "max_workers": bounds.max_workers,
        "worker_concurrency": plan.concurrency,
        "wait_slo_seconds": _plain(bounds.slo.seconds),
    }
    if policy.fallback_workers is not None and policy.fallback_workers > bounds.max_workers:
        keys["fallback_workers"] = bounds.max_workers
    return keys


def planned_target(plan: TargetPlan, policy: PolicySettings) -> dict[str, Any]:
    """The target's entry with what the plan sets, without the variables of its processes: they are secret."""
    target = plan.target
    entry: dict[str, Any] = target.model_dump(
        mode="json", exclude_unset=True, exclude={"processes": {_HIDDEN}}
    )
    head = {key: entry.pop(key) for key in ("name", "prefix", "queues") if key in entry}
    if target.processes is not None and plan.grace is not None:
        entry["processes"]["grace_seconds"] = max(plan.grace, _plain(target.processes.grace_seconds))
    where = {key: entry.pop(key) for key in ("processes", "kubernetes") if key in entry}
    return head | where | entry | planned_keys(plan, policy)


def settings_text(plans: Sequence[tuple[TargetPlan, PolicySettings]]) -> str:
    """YAML of the entries; what is not part of these settings is in comments."""
    lines = ["targets:"]
    for plan, policy in plans:
        target = plan.target
        text = yaml.safe_dump([planned_target(plan, policy)], sort_keys=False, allow_unicode=True)
        lines += [f"  {line}" for line in text.splitlines()]
        lines += [f"    # {comment}" for comment in _comments(plan)]
        if not plan.bounds.kept:
            lines.append(
                f"    # no number of workers that was tried keeps the SLO of {printable(target.name)}"
            )
    return "\n".join(lines) + "\n"


def _comments(plan: TargetPlan) -> list[str]:
    target, comments = plan.target, []
    if target.processes is not None and target.processes.environment:
        comments.append("processes.environment is not shown: keep what is there")
    if target.kubernetes is not None and plan.grace is not None:
        workload = f"{target.kubernetes.kind} {target.kubernetes.name}"
        comments.append(f"in the pods of {workload}: terminationGracePeriodSeconds: {plan.grace}")
    if plan.fitting < plan.concurrency:
        comments.append(f"{plan.fitting} jobs at once get as much done: lower it in the workers, then here")
    return comments


def _plain(seconds: float) -> float:
    return int(seconds) if float(seconds).is_integer() else seconds
