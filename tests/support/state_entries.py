"""What a hand may break in an entry of the exporter's state file."""

from __future__ import annotations

import copy
from typing import Any, Final

BROKEN: Final[tuple[tuple[str, object], ...]] = (
    ("last", None),
    ("last", 7),
    ("last", ""),
    ("last", "soon"),
    ("last", "-5-0"),
    ("last", "18446744073709551616-0"),
    ("last", "5-18446744073709551616"),
    ("read", "5"),
    ("read", None),
    ("read", -1),
    ("read", True),
    ("read", 1.5),
    ("read", 10**400),
    ("lost", "many"),
    ("lost", None),
    ("undone", 1 << 63),
    ("added_before", "0"),
    ("since", "yesterday"),
    ("since", None),
    ("since", float("nan")),
    ("since", 1e400),
    ("busy", [-1, 0]),
    ("jobs.counts", [1, 2]),
    ("jobs.counts", [10**400] * 9),
    ("jobs.wait", [-5, *[0] * 10]),
    ("jobs.processing", None),
    ("jobs.waits", [["7", -1]]),
    ("jobs.active", [["7", 1 << 64]]),
)
"""The part, and what stands there: 28 forms."""


def broken(entry: dict[str, Any], part: str, value: object) -> dict[str, Any]:
    """The entry with that value there."""
    changed = copy.deepcopy(entry)
    *outer, name = part.split(".")
    place: Any = changed
    for key in outer:
        place = place[_key(place, key)]
    place[_key(place, name)] = value
    return changed


def _key(place: Any, key: str) -> str | int:
    return int(key) if isinstance(place, list) else key
