"""What a person orders by a command: checked against the settings, written where the state is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from scaler.model import Override
from scaler.places import PlaceError, make_place
from scaler.settings import Settings, TargetSettings, checked, is_glob, matching
from scaler.state import Orders, State, with_override, with_pause
from scaler.store import Store
from service.clock import now
from service.settings import Loaded
from service.units import duration

_NEEDED: Final = "SCALER_STATE_FILE (state_file) has to be set: orders reach the scaler through that file"


class OrderError(Exception):
    """The order cannot be given; the text says why."""


def find_target(settings: Settings, name: str) -> TargetSettings:
    """The target of this name, or the one that serves the queue of this name. Raises OrderError."""
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
        raise OrderError(f"{name} is served by {', '.join(one.name for one in serving)}: name one of them")
    known = ", ".join(target.name for target in settings.targets) or "none at all"
    raise OrderError(f"there is no target or queue {name!r}; targets: {known}")


def order_override(
    loaded: Loaded[Settings],
    target: TargetSettings,
    workers: int,
    *,
    reason: str,
    by: str,
    seconds: float | None,
) -> str:
    """So many workers, for so many seconds; what to tell the person.

    Raises OrderError, StateError and StoreError.
    """
    if not reason.strip():
        raise OrderError("--reason: should say why")
    at = now()
    override = Override(workers, reason.strip(), by, at, None if seconds is None else at + seconds)

    def change(state: State) -> State:
        try:
            policy = checked(loaded.model, target, state.orders.policies.get(target.name, {}))
        except ValueError as error:
            raise OrderError(f"the changed policy of {target.name} cannot be used: {error}") from None
        if not policy.min_workers <= workers <= policy.max_workers:
            bounds = f"{policy.min_workers} to {policy.max_workers} workers"
            raise OrderError(f"{workers} is not within the bounds of {target.name}: {bounds}")
        orders = with_pause(state.orders, target.name, paused=False)
        return replace(state, orders=with_override(orders, target.name, override))

    _store(loaded).change(change)
    until = "until `scaling auto`"
    if override.until is not None:
        moment = datetime.fromtimestamp(override.until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        until = f"for {duration(seconds)}, until {moment}"
    return f"{target.name}: {workers} workers {until}"


def order_auto(loaded: Loaded[Settings], target: TargetSettings) -> str:
    """The metrics decide again; what to tell the person."""
    before = Orders()

    def change(state: State) -> State:
        nonlocal before
        before = state.orders
        orders = with_pause(with_override(state.orders, target.name, None), target.name, paused=False)
        return replace(state, orders=orders)

    _store(loaded).change(change)
    if target.name in before.overrides or target.name in before.paused:
        return f"{target.name}: scaled by its metrics again"
    return f"{target.name}: was scaled by its metrics already"


def order_pause(loaded: Loaded[Settings], target: TargetSettings) -> str:
    """Held as it is; what to tell the person."""
    _store(loaded).change(
        lambda state: replace(state, orders=with_pause(state.orders, target.name, paused=True))
    )
    return f"{target.name}: held as it is until `scaling auto`"


def _store(loaded: Loaded[Settings]) -> Store:
    try:
        store = make_place(loaded.model).store
    except PlaceError as error:
        raise OrderError(str(error)) from None
    if store is None:
        raise OrderError(_NEEDED)
    return store
