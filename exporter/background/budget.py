"""How much of a Redis node what runs between scrapes may use, and how it slows down. Pure.

Redis counts time for a command (INFO commandstats), not for a connection, and other clients send the same
commands: a worker's XREAD names one stream, the exporter's up to 4,000 entries of a thousand, and the mean of
both says nothing of either. The time that a command takes there also leaves out reading and writing it, which
is more than half for a small one. So the exporter measures how long its own requests are under way, from the
first byte sent to the last received, and never takes more than the node's processor did in all (INFO cpu).
That is the most that it can have been: on a node that others keep busy it is too much, as their commands are
served in between, and there the background slows down earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

MAX_SLOWDOWN: Final = 10.0
"""How many times slower than in the settings the background becomes at most: it must go on."""
_MOST_AT_ONCE: Final = 4.0  # times that one window changes it
_CALM: Final = 1.05  # below which it is at its own pace


class NodeUse(NamedTuple):
    """What was measured of a node, in seconds. `cpu`: of its processor (None: not known); `under_way`: of
    each part's requests."""

    cpu: float | None
    under_way: Mapping[str, float]


def used_seconds(use: NodeUse) -> dict[str, float]:
    """Seconds of the node's processor that each part used at most."""
    whole = sum(use.under_way.values())
    if whole <= 0:
        return dict.fromkeys(use.under_way, 0.0)
    most = whole if use.cpu is None else min(whole, use.cpu)
    return {part: seconds / whole * most for part, seconds in use.under_way.items()}


def next_slowdown(before: float, used_ratio: float) -> float:
    """How many times slower to go on, after a window in which `used_ratio` of the budget was used."""
    change = min(_MOST_AT_ONCE, max(1 / _MOST_AT_ONCE, used_ratio))
    slowdown = min(MAX_SLOWDOWN, max(1.0, before * change))
    return 1.0 if slowdown < _CALM else slowdown
