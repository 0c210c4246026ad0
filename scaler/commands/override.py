"""`scaling manual | auto | pause`, `scaling state discard`: the command, and what is printed.

All raise CommandError, StateError, StoreError.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from scaler.backends import BackendError, make_backend
from scaler.config.settings import ScalerSettings, TargetSettings
from scaler.model import Override
from scaler.state.commands import (
    CommandError,
    clear_override,
    is_automatic,
    make_override,
    override_end,
    pause_target,
    set_override,
    why_without_effect,
)
from scaler.state.model import orders_text
from scaler.state.store import Store
from scaler.targets.machine import limit_of_workers
from service.config.load import Loaded

_NEEDED: Final = "SCALER_STATE_FILE (state_file) has to be set: commands reach the scaler through that file"


def open_store(loaded: Loaded[ScalerSettings]) -> Store:
    """The store of the running scaler's state. Raises CommandError, StoreError."""
    try:
        store = make_backend(loaded.model).store
    except BackendError as error:
        raise CommandError(str(error)) from None
    if store is None:
        raise CommandError(_NEEDED)
    return store


def set_manual(
    loaded: Loaded[ScalerSettings],
    target: TargetSettings,
    workers: int,
    *,
    reason: str,
    by: str,
    seconds: float | None,
) -> str:
    """Override the number of workers, for so many seconds; None: until it is cleared."""
    override = make_override(workers, reason=reason, by=by, seconds=seconds)
    limit = limit_of_workers(loaded.model)
    most = limit.workers if limit else None
    update = open_store(loaded).update(
        lambda state: set_override(state, loaded.model, target, override, most=most)
    )
    without_effect = why_without_effect(update.after, loaded.model, target)
    return _override_message(target.name, override, without_effect) + _where(loaded)


def set_automatic(loaded: Loaded[ScalerSettings], target: TargetSettings) -> str:
    """The metrics decide again."""
    update = open_store(loaded).update(lambda state: clear_override(state, target))
    changed = not is_automatic(update.before, target)
    return automatic_message({"target": target.name, "changed": changed}) + _where(loaded)


def set_paused(loaded: Loaded[ScalerSettings], target: TargetSettings) -> str:
    """The workers stay as they are."""
    open_store(loaded).update(lambda state: pause_target(state, target))
    return paused_message({"target": target.name}) + _where(loaded)


def discard_state(loaded: Loaded[ScalerSettings]) -> str:
    """Go on with what can be read of the state."""
    store = open_store(loaded)
    discarded = store.discard()
    if discarded is None:
        return f"{store.name}: every order in it can be read, nothing is discarded"
    orders = orders_text(discarded.kept.operator) or "none"
    return f"orders that are kept: {orders}\nwhat could not be read is in {discarded.kept_as}"


def _where(loaded: Loaded[ScalerSettings]) -> str:
    """The file, where a scaler with the same settings may have another one."""
    file = loaded.model.state_file
    if file is None or Path(file).is_absolute():
        return ""
    return f"\nwritten to {Path(file).absolute()}: state_file is relative to the folder of each process"


# --- messages, also for responses of the API -------------------------------------------------------------


def manual_message(data: Mapping[str, Any]) -> str:
    """After manual_scale."""
    override = Override(
        data["workers"], data["reason"], data["requestedBy"], data["since"], data.get("until")
    )
    return _override_message(data["target"], override, data.get("withoutEffect"))


def automatic_message(data: Mapping[str, Any]) -> str:
    """After automatic_scale."""
    how = "scaled by its metrics again" if data["changed"] else "was scaled by its metrics already"
    return f"{data['target']}: {how}"


def paused_message(data: Mapping[str, Any]) -> str:
    """After pause_scaling."""
    return f"{data['target']}: workers stay as they are until `scaling auto {data['target']}`"


def _override_message(target: str, override: Override, without_effect: str | None) -> str:
    workers = "1 worker" if override.workers == 1 else f"{override.workers} workers"
    but = f"; without effect now: {without_effect}" if without_effect else ""
    return f"{target}: {workers} {override_end(target, override)}{but}"
