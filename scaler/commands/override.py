"""The orders of the `scaling` command, and what to tell the person.

All raise OrderError, StateError, StoreError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scaler.model import Override
from scaler.settings import Settings, TargetSettings
from scaler.state.commands import order_auto, order_override, order_pause, override_of, store_of, until
from service.config.load import Loaded


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
    return _told(target.name, override)


def auto(loaded: Loaded[Settings], target: TargetSettings) -> str:
    """The metrics decide again."""
    changed = order_auto(target, store_of(loaded).change)
    return told_auto({"target": target.name, "changed": changed})


def pause(loaded: Loaded[Settings], target: TargetSettings) -> str:
    """Held as it is."""
    order_pause(target, store_of(loaded).change)
    return told_pause({"target": target.name})


# --- the same of what the API answers --------------------------------------------------------------------


def told_manual(data: Mapping[str, Any]) -> str:
    """A number by hand."""
    override = Override(
        data["workers"], data["reason"], data["requestedBy"], data["since"], data.get("until")
    )
    return _told(data["target"], override)


def told_auto(data: Mapping[str, Any]) -> str:
    """By its metrics."""
    how = "scaled by its metrics again" if data["changed"] else "was scaled by its metrics already"
    return f"{data['target']}: {how}"


def told_pause(data: Mapping[str, Any]) -> str:
    """Held."""
    return f"{data['target']}: held as it is until `scaling auto`"


def _told(target: str, override: Override) -> str:
    return f"{target}: {override.workers} workers {until(override)}"
