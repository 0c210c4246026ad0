"""The probes of a running exporter: each in its own thread, with its own interval."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from exporter.config.settings import ProbeSettings
from exporter.probes.checks import ProbeError, add_observation
from exporter.probes.request import probe
from exporter.snapshot.histogram import Histogram
from exporter.snapshot.probes import ProbeState
from service.clock import Deadline, monotonic, now
from service.logs import ProblemLog
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
        self._problem_log = ProblemLog(log, "probe failing", "probe recovered", field="why")
        self._at = 0.0

    @property
    def max_age(self) -> float:
        """Seconds after which the last result is no longer published."""
        return _STALE_ROUNDS * self.settings.interval_seconds + self.settings.timeout_seconds

    @property
    def state(self) -> ProbeState | None:
        """The last result; None before the first probe, and if the last one is too old."""
        return self._state if monotonic() - self._at <= self.max_age else None

    def step(self) -> float:
        """Probe once; the seconds until the next probe."""
        started, failure, status, expires = monotonic(), None, None, None
        try:
            result = probe(self.settings, Deadline.after(self.settings.timeout_seconds))
            status, expires = result.status, result.expires
        except ProbeError as error:
            failure, status = error, error.status
        duration = monotonic() - started
        self._durations = add_observation(self._durations, duration)
        if failure is not None:
            self._failures[failure.kind] += 1
        self._state = ProbeState(
            at=now(),
            seconds=duration,
            failure=failure.kind if failure else None,
            message=str(failure) if failure else "",
            status=status,
            certificate_expires=expires,
            durations=self._durations,
            failures=dict(self._failures),
        )
        self._at = monotonic()
        self._problem_log.report(str(failure) if failure else "", probe=self.settings.name)
        return max(0.0, self.settings.interval_seconds - duration)


Gate: TypeAlias = Callable[[Callable[[], float]], Callable[[], float]]


class Probers:
    """All endpoints; a source of the snapshot that does no I/O when collected."""

    def __init__(self, settings: tuple[ProbeSettings, ...], gate: Gate = lambda step: step) -> None:
        """`gate` wraps each step, for example to skip it while monitoring is off."""
        self._probers = [Prober(endpoint) for endpoint in settings]
        self.tasks: Final = tuple(
            Supervised(f"probe:{prober.settings.name}", gate(prober.step), max_age=prober.max_age + 60)
            for prober in self._probers
        )

    def collect(self, deadline: Deadline) -> Mapping[str, ProbeState | None]:
        """Each endpoint's state, by the probe's name."""
        del deadline  # no I/O happens here
        return {prober.settings.name: prober.state for prober in self._probers}
