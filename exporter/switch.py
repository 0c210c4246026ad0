"""Whether there is monitoring now, and how often: as the settings say until the API says otherwise."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from exporter.settings import MonitoringSettings
from service.clock import now

_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Monitoring:
    """`since` is unix s."""

    enabled: bool
    interval_minutes: float
    origin: Literal["settings", "api"]
    since: float


class Switch:
    """For any number of threads. Not kept over a restart: then the settings hold again."""

    def __init__(self, settings: MonitoringSettings) -> None:
        self._lock = threading.Lock()
        self._now = Monitoring(settings.enabled, settings.interval_minutes, "settings", now())

    @property
    def state(self) -> Monitoring:
        return self._now

    @property
    def on(self) -> bool:
        return self._now.enabled

    def turn(self, *, on: bool, interval_minutes: float | None = None) -> Monitoring:
        """By the API."""
        with self._lock:
            changed = replace(self._now, enabled=on, origin="api", since=now())
            if interval_minutes is not None:
                changed = replace(changed, interval_minutes=interval_minutes)
            self._now = changed
            return changed

    def gated(
        self, step: Callable[[], float], idle: Callable[[], object] = lambda: None
    ) -> Callable[[], float]:
        """The step of a background thread, which does `idle` instead while monitoring is off."""

        def gate() -> float:
            if self.on:
                return step()
            idle()
            return _LOOK_SECONDS

        return gate
