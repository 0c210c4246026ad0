"""How many series of their own the names or reasons of all queues may have together. No I/O and no clock."""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet


class Labelling(Protocol):
    """Of one queue: how many labels it has, and may have at most."""

    labels: int

    @property
    def most_labels(self) -> int: ...


class LabelBudget:
    """Labels of all queues together. Its tallies are fed one at a time, as the follower does."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._labelled: WeakSet[Labelling] = WeakSet()  # at most as many as labels: not all queues
        self._full_with: int | None = None  # so many tallies: no count is needed while none of them is gone

    def take(self, tally: Labelling) -> bool:
        """Whether this tally may have one label more."""
        if tally.labels >= tally.most_labels or self._full_with == len(self._labelled):
            return False
        if sum(each.labels for each in self._labelled) >= self._most:
            self._full_with = len(self._labelled)
            return False
        self._labelled.add(tally)
        self._full_with = None
        return True

    def freed(self) -> None:
        """Call when a tally has a label less."""
        self._full_with = None
