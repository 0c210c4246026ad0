"""The thresholds of each queue: those of the first pattern that matches its name, else the common ones."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from exporter.config.health import HealthSettings, WorkThresholds

_MOST_NAMES: Final = 20_000  # that are remembered, as queues come and go


class QueueLimits:
    """The thresholds by queue names, each looked up once."""

    def __init__(self, settings: HealthSettings) -> None:
        self._common: WorkThresholds = settings.thresholds
        self._patterns: list[tuple[str, WorkThresholds | None]] = [
            (rule.match, None if rule.excluded else _merged(settings.thresholds, rule))
            for rule in settings.queues
        ]
        self._by_name: dict[str, WorkThresholds | None] = {}

    @property
    def of_all(self) -> WorkThresholds | None:
        """The thresholds of all queues; None where some may have others."""
        return None if self._patterns else self._common

    def of(self, name: str) -> WorkThresholds | None:
        """The thresholds of a queue; None for one that is excluded."""
        if not self._patterns:
            return self._common
        if name not in self._by_name:
            if len(self._by_name) >= _MOST_NAMES:
                self._by_name.clear()
            self._by_name[name] = self._found(name)
        return self._by_name[name]

    def least(self, field: str) -> float | None:
        """The lowest value of a threshold that any queue may have; None where none has one."""
        limits = [self._common, *(limits for _, limits in self._patterns if limits is not None)]
        values = [value for each in limits if (value := getattr(each, field)) is not None]
        return min(values, default=None)

    def _found(self, name: str) -> WorkThresholds | None:
        for pattern, limits in self._patterns:
            if fnmatchcase(name, pattern):
                return limits
        return self._common


@lru_cache(maxsize=4)
def queue_limits(settings: HealthSettings) -> QueueLimits:
    """The thresholds of these settings."""
    return QueueLimits(settings)


def _merged(common: WorkThresholds, rule: object) -> WorkThresholds:
    names = WorkThresholds.model_fields
    own = {name: value for name in names if (value := getattr(rule, name)) is not None}
    return WorkThresholds(**{name: getattr(common, name) for name in names} | own)
