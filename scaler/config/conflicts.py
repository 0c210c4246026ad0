"""Settings that are valid and cannot work together. Pure."""

from __future__ import annotations

from scaler.config.policy_keys import POLICY_OWN
from scaler.config.policy_layers import resolve
from scaler.config.settings import ScalerSettings


def conflicting_settings(settings: ScalerSettings) -> list[str]:
    """A line for each target and each promise that its settings cannot keep, with the numbers."""
    lines = []
    for target in settings.targets:
        policy = resolve(settings, target)
        if "wait_slo_seconds" not in POLICY_OWN[policy.policy]:
            continue
        slo = min([policy.wait_slo_seconds, *target.queue_slo_seconds.values()])
        promise = f"{target.name}: no job should wait over {slo:g} s (wait_slo_seconds), but"
        if slo < settings.interval_seconds:
            often = f"a decision falls every {settings.interval_seconds:g} s only (interval_seconds)"
            lines.append(f"{promise} {often}: a job may wait for as long before it is seen")
        if policy.cooldown_seconds is not None and slo < policy.cooldown_seconds:
            lines.append(f"{promise} nothing is changed for {policy.cooldown_seconds:g} s (cooldown_seconds)")
        if slo < policy.stabilization_up_seconds:
            up = f"workers are added {policy.stabilization_up_seconds:g} s later (stabilization_up_seconds)"
            lines.append(f"{promise} {up}")
        if policy.metrics_max_age_seconds > 10 * slo and "metrics_max_age_seconds" in policy.model_fields_set:
            age = f"metrics of {policy.metrics_max_age_seconds:g} s ago decide (metrics_max_age_seconds)"
            lines.append(f"{promise} {age}")
    return lines
