"""Whether the settings of one target fit together, wherever the target is declared. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

from scaler.config.policy_layers import mode_problem, origins, resolve
from scaler.config.settings import ScalerSettings, TargetSettings, exporter_url_of, is_glob


class Problem(NamedTuple):
    """A setting of the target, its value, and why it cannot be."""

    key: str
    value: object
    why: str


def policy_problem(settings: ScalerSettings, target: TargetSettings) -> Problem | None:
    """Of the merged policy; None: it can be used."""
    policy, origin = resolve(settings, target), origins(settings, target)

    def invalid(key: str, why: str) -> Problem:
        return Problem(key, getattr(policy, key), why)

    if (why := mode_problem(policy, target)) is not None:
        return invalid("mode", why)
    if policy.min_workers > policy.max_workers:
        key = "max_workers" if origin["min_workers"] == "built in" else "min_workers"
        return invalid(key, f"min_workers {policy.min_workers} is above max_workers {policy.max_workers}")
    each, whole = policy.worker_concurrency_per_queue, policy.worker_concurrency
    if each is not None and whole is not None and each > whole:
        return invalid("worker_concurrency_per_queue", f"is above worker_concurrency {whole}")
    if policy.fallback_workers is not None and policy.fallback_workers > policy.max_workers:
        return invalid("fallback_workers", f"is above max_workers {policy.max_workers}")
    if policy.scale_down_threshold >= policy.scale_up_threshold:
        return invalid(
            "scale_down_threshold", f"should be below scale_up_threshold {policy.scale_up_threshold:g}"
        )
    if (
        policy.metrics_max_age_seconds < settings.interval_seconds
        and origin["metrics_max_age_seconds"] != "built in"
    ):
        return invalid("metrics_max_age_seconds", f"is below the interval of {settings.interval_seconds:g} s")
    return None


def slo_problem(target: TargetSettings) -> Problem | None:
    """An SLO of a queue that the target cannot serve; None: there is none."""
    for queue, slo in target.queue_slo_seconds.items():
        if not _may_serve(target, queue):
            why = f"the target serves no such queue: {', '.join(target.queues)}"
            return Problem(f"queue_slo_seconds.{queue}", slo, why)
    return None


def idle_problem(settings: ScalerSettings, target: TargetSettings) -> Problem | None:
    """Idle workers first, where nobody tells which are idle; None: it is not asked for, or somebody does."""
    if target.kubernetes and target.kubernetes.idle_first and exporter_url_of(settings) is None:
        why = "needs exporter_url: the exporter reports the busy workers"
        return Problem("kubernetes.idle_first", value=True, why=why)
    return None


def _may_serve(target: TargetSettings, queue: str) -> bool:
    """Whether a name or pattern can be of one of its queues; of two patterns that is not known."""
    return any(
        fnmatchcase(queue, served) or fnmatchcase(served, queue) or (is_glob(queue) and is_glob(served))
        for served in target.queues
    )
