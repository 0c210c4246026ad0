"""Targets that are being closed, each in a thread: its workers have their grace period, and the others need
decisions."""

from __future__ import annotations

import logging
from threading import Thread
from typing import Final

from scaler.targets.base import Target
from service.threads import NoThreadError, start_thread

log = logging.getLogger(__name__)

_NAME: Final = "closing a target"


class ClosingTargets:
    """For one thread."""

    def __init__(self) -> None:
        self._waiting: list[Target] = []
        self._threads: list[Thread] = []

    def add(self, target: Target) -> None:
        """Close it, now or as soon as there is room for a thread."""
        self._waiting.append(target)
        self.begin()

    def begin(self) -> None:
        """Begin with those for which there was no room so far: once in a step."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        try:
            while self._waiting:
                self._threads.append(start_thread(self._waiting[0].close, _NAME, daemon=False))
                del self._waiting[0]
        except NoThreadError as error:
            log.warning("target not closed yet", extra={"targets": len(self._waiting), "reason": str(error)})

    def finish(self) -> None:
        """Wait for all of them; those that have no thread still are closed here."""
        self.begin()
        for target in self._waiting:
            target.close()
        self._waiting = []
        for thread in self._threads:
            thread.join()
