"""A target's policy, merged from its layers: `defaults`, `policies`, its own keys, changes at run time.

Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from pydantic import ValidationError

from scaler.config.settings import (
    POLICY_KEYS,
    REMOVED_KEYS,
    PolicySettings,
    ScalerSettings,
    TargetSettings,
)


def origins(
    settings: ScalerSettings, target: TargetSettings, changed: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """The origin of each key of the target's policy: built in, defaults, policies[i], its own entry, or
    "changed" at run time."""
    origin_of = {key: origin for origin, keys in _layers(settings, target) for key in keys}
    origin_of |= dict.fromkeys(changed or {}, "changed")
    return {key: origin_of.get(key, "built in") for key in POLICY_KEYS}


def resolve(
    settings: ScalerSettings, target: TargetSettings, changed: Mapping[str, Any] | None = None
) -> PolicySettings:
    """The target's policy: its own keys over those of the first of `policies` that matches, over `defaults`.

    `changed` are keys that were changed at run time. Raises pydantic's ValidationError for these alone.
    """
    merged: dict[str, Any] = {}
    for _, keys in _layers(settings, target):
        merged |= keys
    return PolicySettings.model_validate(merged | dict(changed or {}))


_NUMBERS_OF_WORKERS: Final = ("min_workers", "max_workers", "fallback_workers")


def checked_policy(
    settings: ScalerSettings,
    target: TargetSettings,
    changed: Mapping[str, Any],
    *,
    most: int | None = None,
) -> PolicySettings:
    """The target's policy with these keys changed at run time. Raises ValueError, which names the key.

    `most`: workers that the machine can run, if they are its processes.
    """
    removed = next((key for key in changed if key in REMOVED_KEYS), None)
    if removed:
        raise ValueError(f"{removed}: {REMOVED_KEYS[removed]}")
    unknown = [key for key in changed if key not in POLICY_KEYS]
    if unknown:
        raise ValueError(f"{unknown[0]}: unknown setting of a policy")
    try:
        policy = resolve(settings, target, changed)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{first['loc'][0]}: {first['msg']}") from None
    if most is not None and target.processes is not None:
        for key in _NUMBERS_OF_WORKERS:
            if key in changed and (getattr(policy, key) or 0) > most:
                raise ValueError(f"{key}: this machine can run {most} workers at most")
    if (why := mode_problem(policy, target)) is not None:
        raise ValueError(f"mode: {policy.mode!r}: {why}")
    if policy.min_workers > policy.max_workers:
        raise ValueError(f"min_workers {policy.min_workers} is above max_workers {policy.max_workers}")
    if policy.scale_down_threshold >= policy.scale_up_threshold:
        raise ValueError("scale_down_threshold should be below scale_up_threshold")
    return policy


def mode_problem(policy: PolicySettings, target: TargetSettings) -> str | None:
    """Why the mode cannot be that of this target; None: it can."""
    if target.processes is None or policy.mode != "advise":
        return None
    return "its workers are processes of this scaler, whose number nobody else sets: act, or shadow"


def _layers(settings: ScalerSettings, target: TargetSettings) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "defaults", _set_keys(settings.defaults)
    for index, entry in enumerate(settings.policies):
        if any(fnmatchcase(name, entry.match) for name in (target.name, *target.queues)):
            yield f"policies[{index}]", _set_keys(entry)
            break
    yield "target", _set_keys(target)


def _set_keys(model: PolicySettings) -> dict[str, Any]:
    return {key: getattr(model, key) for key in POLICY_KEYS if key in model.model_fields_set}
