"""The orders of the `scaling` command, and what to tell the person.

All raise OrderError, StateError, StoreError.
"""

from __future__ import annotations

from scaler.orders import order_auto, order_override, order_pause, override_of, store_of, until
from scaler.settings import Settings, TargetSettings
from service.settings import Loaded


def manual(
    loaded: Loaded[Settings],
    target: TargetSettings,
    workers: int,
    *,
    reason: str,
    by: str,
    seconds: float | None,
) -> str:
    """So many workers, for so many seconds."""
    wanted = override_of(workers, reason=reason, by=by, seconds=seconds)
    override = order_override(loaded.model, target, wanted, store_of(loaded).change)
    return f"{target.name}: {workers} workers {until(override)}"


def auto(loaded: Loaded[Settings], target: TargetSettings) -> str:
    """The metrics decide again."""
    if order_auto(target, store_of(loaded).change):
        return f"{target.name}: scaled by its metrics again"
    return f"{target.name}: was scaled by its metrics already"


def pause(loaded: Loaded[Settings], target: TargetSettings) -> str:
    """Held as it is."""
    order_pause(target, store_of(loaded).change)
    return f"{target.name}: held as it is until `scaling auto`"
