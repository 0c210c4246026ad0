"""The search for cycles of garbage, kept away from what stays: it took a fifth of a scrape's time."""

from __future__ import annotations

import gc
import threading
from typing import Final

_YOUNG: Final = 50_000  # objects that are new since the last search, before the next
_YOUNG_OF_A_QUEUE: Final = 25
_GROWTH: Final = 1.5
_ROUNDS: Final = 3  # collections, until what is kept of each queue from one to the next is there


class GarbageCollection:
    """The collector of a process that is the exporter's alone. Any thread may call it.

    What is there when the process has started, and again when many more queues are known, is never searched:
    it stays, and at ten thousand queues it is most of the heap.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues = 0
        self._rounds_left = 0

    def begin(self) -> None:
        """Call when the process has started."""
        _keep(_YOUNG)

    def collected(self, queues: int) -> None:
        """Call after each collection with the number of known queues."""
        with self._lock:
            if queues > self._queues * _GROWTH:
                self._queues, self._rounds_left = queues, _ROUNDS
            due = self._rounds_left == 1
            self._rounds_left = max(0, self._rounds_left - 1)
        if due:
            _keep(max(_YOUNG, _YOUNG_OF_A_QUEUE * queues))


def _keep(young: int) -> None:
    gc.collect()  # a cycle of garbage that is frozen would stay for ever
    gc.freeze()
    gc.set_threshold(young, 20, 20)
