"""Whether monitoring is enabled, and its interval: by the settings, until the API changes it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from exporter.config.settings import MonitoringSettings
from service.clock import now

_IDLE_SECONDS: Final = 1.0  # between two checks while monitoring is off


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Whether monitoring is enabled, and what set it; `since` is unix s."""

    enabled: bool
    interval_minutes: float
    origin: Literal["settings", "api"]
    since: float


class Switch:
    """For any number of threads. After a restart the settings apply again."""

    def __init__(self, settings: MonitoringSettings) -> None:
        self._lock = threading.Lock()
        self._state = Monitoring(settings.enabled, settings.interval_minutes, "settings", now())

    @property
    def state(self) -> Monitoring:
        return self._state

    @property
    def on(self) -> bool:
        return self._state.enabled

    def turn(self, *, on: bool, interval_minutes: float | None = None) -> Monitoring:
        """Change the state, as requested through the API."""
        with self._lock:
            changed = replace(self._state, enabled=on, origin="api", since=now())
            if interval_minutes is not None:
                changed = replace(changed, interval_minutes=interval_minutes)
            self._state = changed
            return changed

    def gated(
        self, step: Callable[[], float], idle: Callable[[], object] = lambda: None
    ) -> Callable[[], float]:
        """The step of a background thread, which calls `idle` instead while monitoring is off."""

        def gate() -> float:
            if self.on:
                return step()
            idle()
            return _IDLE_SECONDS

        return gate
