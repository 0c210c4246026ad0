"""Orders as annotations of a ScaledQueue: a pause, and a number of workers until a time. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from scaler.config.scaled_queue import GROUP
from scaler.config.settings import MOST_WORKERS
from scaler.kube.objects import parsed_bool, unix_seconds
from scaler.model import Override
from scaler.sources.declared import NO_ORDERS, Orders

PAUSED: Final = f"{GROUP}/paused"
OVERRIDE: Final = f"{GROUP}/override"
OVERRIDE_UNTIL: Final = f"{GROUP}/override-until"


def orders_of(annotations: Mapping[str, str], *, by: str, at: float) -> Orders:
    """The orders in the annotations; `by` names the object, `at` is when they were first seen (unix s)."""
    try:
        paused = parsed_bool(annotations[PAUSED]) if PAUSED in annotations else False
        if paused is None:
            raise ValueError(f"{PAUSED} should be true or false")  # noqa: TRY301  # as the others
        override = _override(annotations, by=by, at=at)
    except ValueError as error:
        return Orders(problem=f"annotation {error}; until it is corrected the workers stay as they are")
    return Orders(paused, override) if paused or override else NO_ORDERS


def _override(annotations: Mapping[str, str], *, by: str, at: float) -> Override | None:
    text = annotations.get(OVERRIDE)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST_WORKERS))):
        raise ValueError(f"{OVERRIDE} should be a number of workers")
    workers = int(text)
    if workers > MOST_WORKERS:
        raise ValueError(f"{OVERRIDE} should be at most {MOST_WORKERS}")
    until = None
    if OVERRIDE_UNTIL in annotations:
        try:
            until = unix_seconds(annotations[OVERRIDE_UNTIL])
        except (ValueError, OverflowError):
            why = f"{OVERRIDE_UNTIL} should be a time such as 2026-01-31T12:00:00Z"
            raise ValueError(why) from None
    return Override(workers, f"annotation {OVERRIDE}", by, at, until)
