"""Judges real queues again and again, as an exporter does that is scraped twice a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from exporter.config.health import HealthSettings
from exporter.health import Issue, assess
from exporter.snapshot.queues import BullMQState
from exporter.snapshot.whole import Snapshot
from lab.deadline import wait_until
from service.catalogs import ENGLISH
from service.outcome import Ok
from tests.support.bullmq import Watch

WATCHED: Final = 6.0
"""Seconds for which nothing may be found."""
QUICK: Final[Mapping[str, float]] = {
    "no_worker_seconds": 3,
    "no_start_seconds": 4,
    "delayed_overdue_seconds": 2,
    "no_lock_seconds": 2,
    "active_seconds": 2,
    "paused_seconds": 3,
    "without_workers_seconds": 3,
    "waiting_children_seconds": 3,
}
"""Thresholds of seconds."""
SHORT_LOCK: Final[Mapping[str, Any]] = {"lockDuration": 1000, "stalledInterval": 500}
"""Options of a worker: after it was killed, its lock is there for as long as it is set to live."""


class Judge:
    """`settings` are those of health, with quick thresholds."""

    def __init__(self, watch: Watch, **settings: object) -> None:
        self.watch = watch
        self.settings = HealthSettings.model_validate({"thresholds": QUICK} | settings)
        self.state = BullMQState(())
        self.not_known_yet: Mapping[str, float] = {}

    def begin(self) -> None:
        """Count from now on: what comes later is of the last hour."""
        self.watch.read_all()
        while self.watch.follow() == 0.0:
            pass

    def issues(self) -> dict[str, Issue]:
        """What is wrong now, by name."""
        self.watch.follow()
        self.state = self.watch.read_all()
        health = assess(Snapshot(time.time(), bullmq=Ok(self.state)), self.settings)
        self.not_known_yet = health.open
        return {issue.name: issue for issue in health.issues}

    def wait_for(self, *names: str, seconds: float = 30) -> dict[str, Issue]:
        """Until exactly these conditions are there."""
        last: list[dict[str, Issue]] = []

        def reached() -> bool:
            last[:] = [self.issues()]
            return last[0].keys() == set(names)

        try:
            wait_until(reached, what=f"the conditions {names}", seconds=seconds)
        except TimeoutError:
            raise TimeoutError(f"there are {sorted(last[0])}, not {names}: {self.state.work}") from None
        return last[0]

    def wait_for_one(self, name: str, seconds: float = 30) -> Issue:
        """Until this condition is there, and no other."""
        return self.wait_for(name, seconds=seconds)[name]

    def finds_nothing(self, seconds: float = WATCHED, meanwhile: Callable[[], object] | None = None) -> None:
        """Fails if anything is found in this time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            issues = self.issues()
            assert not issues, f"{[said(issue) for issue in issues.values()]}"
            if meanwhile is not None:
                meanwhile()
            time.sleep(0.2)


def said(issue: Issue) -> str:
    """What was measured, and what is recommended."""
    return f"{ENGLISH.render(issue.measured)} | {ENGLISH.render(issue.recommendation)}"
