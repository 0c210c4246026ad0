"""What a person orders, by a command or the API: checked against the settings, kept with the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from scaler.backends import BackendError, make_backend
from scaler.model import Override
from scaler.settings import PolicySettings, Settings, TargetSettings, checked, is_glob, matching
from scaler.state.model import OperatorState, State, with_override, with_pause, with_policy
from scaler.state.store import Store
from service.clock import now
from service.config.load import Loaded
from service.units import duration

_NEEDED: Final = "SCALER_STATE_FILE (state_file) has to be set: orders reach the scaler through that file"


ChangeState: TypeAlias = Callable[[Callable[[State], State]], object]
"""Changes the state where it is kept. Raises StateError and StoreError."""


class CommandError(Exception):
    """The order cannot be given; the text says why."""


def find_target(settings: Settings, name: str) -> TargetSettings:
    """The target of this name, or the one that serves the queue of this name. Raises CommandError."""
    for target in settings.targets:
        if target.name == name:
            return target
    serving = [target for target in settings.targets if name in target.queues]
    serving = serving or [
        target
        for target in settings.targets
        if any(is_glob(one) for one in target.queues) and name in matching(target.queues, [name])
    ]
    if len(serving) == 1:
        return serving[0]
    if serving:
        raise CommandError(f"{name} is served by {', '.join(one.name for one in serving)}: name one of them")
    known = ", ".join(target.name for target in settings.targets) or "none at all"
    raise CommandError(f"there is no target or queue {name[:100]!r}; targets: {known}")


def set_override(
    settings: Settings, target: TargetSettings, override: Override, change: ChangeState
) -> Override:
    """So many workers, until its time is over or the metrics are to decide again.

    Raises CommandError, and what `change` raises; so do the others.
    """
    if not override.reason.strip():
        raise CommandError("reason: should say why")
    ordered = replace(override, reason=override.reason.strip())

    def with_it(state: State) -> State:
        try:
            policy = checked(settings, target, state.operator.policies.get(target.name, {}))
        except ValueError as error:
            raise CommandError(f"the changed policy of {target.name} cannot be used: {error}") from None
        if not policy.min_workers <= ordered.workers <= policy.max_workers:
            bounds = f"{policy.min_workers} to {policy.max_workers} workers"
            raise CommandError(f"{ordered.workers} is not within the bounds of {target.name}: {bounds}")
        operator = with_pause(state.operator, target.name, paused=False)
        return replace(state, operator=with_override(operator, target.name, ordered))

    change(with_it)
    return ordered


def clear_override(target: TargetSettings, change: ChangeState) -> bool:
    """The metrics decide again; whether they did not before."""
    before = OperatorState()

    def without_it(state: State) -> State:
        nonlocal before
        before = state.operator
        operator = with_pause(with_override(state.operator, target.name, None), target.name, paused=False)
        return replace(state, operator=operator)

    change(without_it)
    return target.name in before.overrides or target.name in before.paused


def pause_target(target: TargetSettings, change: ChangeState) -> None:
    """Held as it is."""
    change(lambda state: replace(state, operator=with_pause(state.operator, target.name, paused=True)))


def change_policy(
    settings: Settings, target: TargetSettings, keys: Mapping[str, Any], change: ChangeState
) -> PolicySettings:
    """These keys of the policy, over what was changed before; None: as the settings have it. What results."""
    policy = PolicySettings()

    def with_keys(state: State) -> State:
        nonlocal policy
        changed = dict(state.operator.policies.get(target.name, {})) | dict(keys)
        changed = {key: value for key, value in changed.items() if value is not None}
        try:
            policy = checked(settings, target, changed)
        except ValueError as error:
            raise CommandError(str(error)) from None
        return replace(state, operator=with_policy(state.operator, target.name, changed))

    change(with_keys)
    return policy


def reset_policy(target: TargetSettings, change: ChangeState) -> bool:
    """The policy as the settings have it; whether anything was changed before."""
    before: Mapping[str, Any] = {}

    def without(state: State) -> State:
        nonlocal before
        before = state.operator.policies
        return replace(state, operator=with_policy(state.operator, target.name, {}))

    change(without)
    return target.name in before


def set_enabled(change: ChangeState, *, enabled: bool, interval_seconds: float | None = None) -> None:
    """All targets are scaled, or left as they are; with an interval: decided on so often."""

    def switched(state: State) -> State:
        operator = replace(state.operator, enabled=enabled)
        if interval_seconds is not None:
            operator = replace(operator, interval_seconds=interval_seconds)
        return replace(state, operator=operator)

    change(switched)


def until(override: Override) -> str:
    """How long it holds, in words."""
    if override.until is None:
        return "until `scaling auto`"
    moment = datetime.fromtimestamp(override.until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"for {duration(override.until - override.at)}, until {moment}"


def override_of(workers: int, *, reason: str, by: str, seconds: float | None) -> Override:
    """From now on, for so many seconds."""
    at = now()
    return Override(workers, reason, by, at, None if seconds is None else at + seconds)


def store_of(loaded: Loaded[Settings]) -> Store:
    """Where the running scaler keeps its state. Raises CommandError, StoreError."""
    try:
        store = make_backend(loaded.model).store
    except BackendError as error:
        raise CommandError(str(error)) from None
    if store is None:
        raise CommandError(_NEEDED)
    return store
