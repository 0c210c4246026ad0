"""The orders of the `scaling` command, and what to tell the person.

All raise CommandError, StateError, StoreError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scaler.model import Override
from scaler.settings import Settings, TargetSettings
from scaler.state.commands import clear_override, override_of, pause_target, set_override, store_of, until
from service.config.load import Loaded


def set_manual(
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
    override = set_override(loaded.model, target, wanted, store_of(loaded).change)
    return _told(target.name, override)


def set_automatic(loaded: Loaded[Settings], target: TargetSettings) -> str:
    """The metrics decide again."""
    changed = clear_override(target, store_of(loaded).change)
    return automatic_message({"target": target.name, "changed": changed})


def set_paused(loaded: Loaded[Settings], target: TargetSettings) -> str:
    """Held as it is."""
    pause_target(target, store_of(loaded).change)
    return paused_message({"target": target.name})


# --- the same of what the API answers --------------------------------------------------------------------


def manual_message(data: Mapping[str, Any]) -> str:
    """A number by hand."""
    override = Override(
        data["workers"], data["reason"], data["requestedBy"], data["since"], data.get("until")
    )
    return _told(data["target"], override)


def automatic_message(data: Mapping[str, Any]) -> str:
    """By its metrics."""
    how = "scaled by its metrics again" if data["changed"] else "was scaled by its metrics already"
    return f"{data['target']}: {how}"


def paused_message(data: Mapping[str, Any]) -> str:
    """Held."""
    return f"{data['target']}: held as it is until `scaling auto`"


def _told(target: str, override: Override) -> str:
    return f"{target}: {override.workers} workers {until(override)}"
