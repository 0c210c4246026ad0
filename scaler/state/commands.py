"""Commands to the scaler, by the `scaling` command or the API: each returns the changed state. Pure except
for the time.

Applied by `Store.update`, which may call them several times. All raise CommandError if they are invalid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from scaler.config.policy_layers import checked_policy, resolve
from scaler.config.settings import ScalerSettings, TargetSettings
from scaler.model import Override
from scaler.serving import targets_meant
from scaler.state.model import (
    OperatorState,
    State,
    with_known,
    with_override,
    with_pause,
    with_policy,
)
from service.clock import now
from service.units import duration


class CommandError(Exception):
    """The command cannot be carried out; the text says why."""


def find_target(settings: ScalerSettings, name: str) -> TargetSettings:
    """The target of this name, or the one that serves the queue of this name. Raises CommandError."""
    meant = targets_meant(settings.targets, name)
    if len(meant) == 1:
        return meant[0]
    if meant:
        names = ", ".join(target.name for target in meant)
        raise CommandError(f"{name} is served by {names}: name one of them")
    if not settings.targets:
        raise CommandError("the settings have no targets: name their file (--config), or the scaler (--url)")
    known = ", ".join(target.name for target in settings.targets)
    raise CommandError(f"there is no target or queue {name[:100]!r}; targets: {known}")


def make_override(workers: int, *, reason: str, by: str, seconds: float | None) -> Override:
    """From now on, for so many seconds; None: until it is cleared. Raises CommandError without a reason."""
    if not reason.strip():
        raise CommandError("reason: should say why")
    at = now()
    return Override(workers, reason.strip(), by, at, None if seconds is None else at + seconds)


def set_override(
    state: State,
    settings: ScalerSettings,
    target: TargetSettings,
    override: Override,
    *,
    most: int | None = None,
) -> State:
    """With the override, which ends a pause of the target. `most`: as in `checked_policy`."""
    try:
        policy = checked_policy(settings, target, state.operator.policies.get(target.name, {}), most=most)
    except ValueError as error:
        raise CommandError(f"the changed policy of {target.name} cannot be used: {error}") from None
    if not policy.min_workers <= override.workers <= policy.max_workers:
        bounds = f"{policy.min_workers} to {policy.max_workers} workers"
        raise CommandError(f"{override.workers} is not within the bounds of {target.name}: {bounds}")
    if most is not None and target.processes is not None and override.workers > most:
        raise CommandError(f"{override.workers} workers: this machine can run {most} at most")
    operator = with_known(with_pause(state.operator, target.name, paused=False), target.name)
    return replace(state, operator=with_override(operator, target.name, override))


def clear_override(state: State, target: TargetSettings) -> State:
    """Without override, pause, and what of them cannot be read: the metrics decide again."""
    operator = with_known(with_override(state.operator, target.name, None), target.name)
    return replace(state, operator=with_pause(operator, target.name, paused=False))


def is_automatic(state: State, target: TargetSettings) -> bool:
    """Whether the metrics decide."""
    operator = state.operator
    return not any(target.name in part for part in (operator.overrides, operator.paused, operator.unknown))


def pause_target(state: State, target: TargetSettings) -> State:
    """The workers of the target stay as they are."""
    return replace(state, operator=with_pause(state.operator, target.name, paused=True))


def change_policy(
    state: State,
    settings: ScalerSettings,
    target: TargetSettings,
    keys: Mapping[str, Any],
    *,
    most: int | None = None,
) -> State:
    """With these keys of the policy changed too; None resets a key to the settings. `most`: as in
    `checked_policy`."""
    changed = dict(state.operator.policies.get(target.name, {})) | dict(keys)
    changed = {key: value for key, value in changed.items() if value is not None}
    try:
        checked_policy(settings, target, changed, most=most)
    except ValueError as error:
        raise CommandError(str(error)) from None
    return replace(state, operator=with_policy(state.operator, target.name, changed))


def reset_policy(state: State, target: TargetSettings) -> State:
    """With the policy as in the settings."""
    return replace(state, operator=with_policy(state.operator, target.name, {}))


def set_enabled(state: State, *, enabled: bool, interval_seconds: float | None = None) -> State:
    """Scale all targets or none; with an interval, decide that often."""
    operator: OperatorState = replace(state.operator, enabled=enabled)
    if interval_seconds is not None:
        operator = replace(operator, interval_seconds=interval_seconds)
    return replace(state, operator=operator)


def why_without_effect(state: State, settings: ScalerSettings, target: TargetSettings) -> str | None:
    """Why an override of the target changes no worker now; None: it does, as far as settings say."""
    if state.operator.enabled is False:
        return "scaling is stopped, until `start_autoscaling`"
    if state.operator.enabled is None and not settings.enabled:
        return "`enabled` is false: no target is scaled"
    changed = state.operator.policies.get(target.name, {})
    enabled = changed.get("enabled", resolve(settings, target).enabled)
    if not enabled:
        return f"`enabled` of {target.name} is false: it is not scaled"
    mode = changed.get("mode", resolve(settings, target).mode)
    if mode != "act":
        return f"`mode` of {target.name} is {mode}: its workers are not set by this scaler"
    return "it is a dry run" if settings.dry_run else None


def override_end(target: str, override: Override) -> str:
    """How long the override of the target lasts, in words."""
    if override.until is None:
        return f"until `scaling auto {target}`"
    moment = datetime.fromtimestamp(override.until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"for {duration(override.until - override.at)}, until {moment}"
