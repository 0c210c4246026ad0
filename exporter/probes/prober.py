"""The probes of a running exporter: each in a thread of its own, at its own pace."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from exporter.probes.checks import ProbeError, observed
from exporter.probes.request import probe
from exporter.settings import ProbeSettings
from exporter.snapshot import Histogram, ProbeState
from service.clock import Deadline, monotonic, now
from service.threads import Supervised

log = logging.getLogger(__name__)

_STALE_ROUNDS: Final = 3
_LATE_SECONDS: Final = 60.0


class Prober:
    """One endpoint. `step` is for one thread, `state` for all."""

    def __init__(self, settings: ProbeSettings) -> None:
        self.settings: Final = settings
        self._durations: Histogram | None = None
        self._failures: Counter[str] = Counter()
        self._state: ProbeState | None = None
        self._told = ""
        self._at = 0.0

    @property
    def max_age(self) -> float:
        """Seconds after which what was last seen is no longer told."""
        return _STALE_ROUNDS * self.settings.interval_seconds + self.settings.timeout_seconds

    @property
    def state(self) -> ProbeState | None:
        """As it was last seen; None before the first time, and when that is too long ago."""
        return self._state if monotonic() - self._at <= self.max_age else None

    def step(self) -> float:
        """Ask once; seconds until the next time."""
        begun, failure, status, expires = monotonic(), None, None, None
        try:
            answer = probe(self.settings, Deadline.after(self.settings.timeout_seconds))
            status, expires = answer.status, answer.expires
        except ProbeError as error:
            failure, status = error, error.status
        took = monotonic() - begun
        self._durations = observed(self._durations, took)
        if failure is not None:
            self._failures[failure.kind] += 1
        self._state = ProbeState(
            at=now(),
            seconds=took,
            failure=failure.kind if failure else None,
            message=str(failure) if failure else "",
            status=status,
            certificate_expires=expires,
            durations=self._durations,
            failures=dict(self._failures),
        )
        self._at = monotonic()
        self._tell(str(failure) if failure else "")
        return max(0.0, self.settings.interval_seconds - took)

    def _tell(self, problem: str) -> None:
        if bool(problem) != bool(self._told):
            level = logging.WARNING if problem else logging.INFO
            event = "endpoint fails" if problem else "endpoint is well again"
            log.log(level, event, extra={"probe": self.settings.name, "why": problem or None})
        self._told = problem


Gate: TypeAlias = Callable[[Callable[[], float]], Callable[[], float]]


class Probers:
    """All endpoints; a source of the snapshot that waits for nothing."""

    def __init__(self, settings: tuple[ProbeSettings, ...], gate: Gate = lambda step: step) -> None:
        """`gate` makes of each step what is done in its stead."""
        self._probers = [Prober(one) for one in settings]
        self.tasks: Final = tuple(
            Supervised(f"probe:{one.settings.name}", gate(one.step), max_age=one.max_age + 60)
            for one in self._probers
        )

    def collect(self, deadline: Deadline) -> Mapping[str, ProbeState | None]:
        """Each endpoint's state, by the probe's name."""
        del deadline  # nothing is waited for
        return {one.settings.name: one.state for one in self._probers}
