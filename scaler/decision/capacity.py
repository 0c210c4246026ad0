"""Shares a limited number of workers among targets, when together they want more. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class Demand:
    """What a target wants: `desired` workers, of which `least` cannot be refused (its minimum, and those with
    a job). Of those with a higher `priority` nothing is taken for others."""

    name: str
    desired: int
    least: int
    priority: int = 0


def share(demands: Sequence[Demand], most: int) -> dict[str, int]:
    """Workers by target: `most` together, or what cannot be refused if that is more.

    The targets of the highest priority get what they want first. Those of one priority get as much of what
    they want beyond their least in proportion.
    """
    granted = {demand.name: min(demand.desired, demand.least) for demand in demands}
    left = max(0, most - sum(granted.values()))
    by_priority = sorted(demands, key=lambda demand: -demand.priority)
    for _, group in groupby(by_priority, key=lambda demand: demand.priority):
        more = _proportional([(demand.name, demand.desired - granted[demand.name]) for demand in group], left)
        left -= sum(more.values())
        for name, workers in more.items():
            granted[name] += workers
    return granted


def _proportional(wants: Iterable[tuple[str, int]], left: int) -> dict[str, int]:
    """At most `left` in whole numbers; the largest remainders get one more."""
    listed = list(wants)
    total = sum(want for _, want in listed)
    if total <= left:
        return dict(listed)
    shares = {name: want * left / total for name, want in listed}
    granted = {name: int(part) for name, part in shares.items()}
    rest = left - sum(granted.values())
    for name in sorted(shares, key=lambda name: (granted[name] - shares[name], name))[:rest]:
        granted[name] += 1
    return granted
