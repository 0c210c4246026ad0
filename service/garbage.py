"""The search for cycles of garbage, kept away from what stays: it took a fifth of a scrape's time, and a
third of a step's."""

from __future__ import annotations

import ctypes
import gc
import threading
from contextlib import suppress
from typing import Final

YOUNG_OF_A_QUEUE: Final = 25
"""Objects that a scrape makes of each queue, and forgets."""
YOUNG_OF_A_TARGET: Final = 200
"""The same of a scaler's step and each target: half of them are the series of a queue, as JSON."""

_YOUNG: Final = 50_000  # objects that are new since the last search, before the next
_GROWTH: Final = 1.5
_ROUNDS: Final = 3  # until what is kept from one to the next is there


class GarbageCollection:
    """The collector of a process that is one program's alone. Any thread may call it.

    What is there when the process has started, and again when it knows many more queues or targets, is never
    searched: it stays, and at ten thousand queues it is most of the heap.
    """

    def __init__(self, young_of_each: int) -> None:
        """`young_of_each`: objects that a round makes of each queue or target, and forgets."""
        self._young_of_each = young_of_each
        self._lock = threading.Lock()
        self._known = 0
        self._rounds_left = 0

    def begin(self) -> None:
        """Call when the process has started."""
        _keep(_YOUNG)

    def round_done(self, known: int) -> None:
        """Call after each round with the number of queues or targets that are known."""
        with self._lock:
            if known > self._known * _GROWTH:
                self._known, self._rounds_left = known, _ROUNDS
            due = self._rounds_left == 1
            self._rounds_left = max(0, self._rounds_left - 1)
        if due:
            _keep(max(_YOUNG, self._young_of_each * known))


def _keep(young: int) -> None:
    gc.collect()  # a cycle of garbage that is frozen would stay for ever
    gc.freeze()
    gc.set_threshold(young, 20, 20)
    give_back_memory()


def give_back_memory() -> None:
    """Give memory back that was taken for a while: for a start with ten thousand queues 20 MB, in pieces
    between what stays, which glibc keeps otherwise. Other C libraries have no such function."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
