"""Collects and assesses, on request and in the background; issues that appear or clear are logged."""

from __future__ import annotations

import logging
import threading
from typing import Final

from exporter.assessment import Assessment, succeeded
from exporter.collect import Collector
from exporter.config.settings import ExporterSettings
from exporter.derived import totals
from exporter.health import Health, Issue, assess
from exporter.history import History
from exporter.snapshot.whole import Snapshot
from exporter.switch import Switch
from service.catalogs import ENGLISH
from service.clock import Deadline
from service.outcome import Failed, value_or_none

log = logging.getLogger(__name__)

_BACKGROUND_SECONDS: Final = 10.0


class Assessor:
    """Each snapshot with its health. Any number of threads may call it."""

    def __init__(
        self,
        collector: Collector,
        settings: ExporterSettings,
        switch: Switch | None = None,
        history: History | None = None,
    ) -> None:
        self._history = history
        self._switch = switch or Switch(settings.monitoring)
        self._collector = collector
        self._settings = settings
        self._lock = threading.Lock()
        self._issues: dict[str, Issue] = {}
        self._number = 0

    @property
    def begun(self) -> bool:
        """Whether the first collection is done."""
        return self._number > 0

    @property
    def without_thread(self) -> tuple[str, ...]:
        """The sources that could not be read in the last collection, as there was no room for a thread."""
        return self._collector.without_thread

    def assess(self, deadline: Deadline) -> Assessment:
        """A new collection, or the one that is running."""
        snapshot = self._collector.collect(deadline)
        health = assess(snapshot, self._settings.health)
        self._record(snapshot, health)
        return Assessment(snapshot, health)

    def step(self) -> float:
        """One assessment between scrapes, whose sentence is logged. Returns the seconds until the next."""
        assessment = self.assess(Deadline.after(_BACKGROUND_SECONDS))
        health = assessment.health
        log.info(
            "assessed",
            extra={"score": health.score, "status": health.status, "summary": sentence(assessment)},
        )
        return self._switch.state.interval_minutes * 60

    def _record(self, snapshot: Snapshot, health: Health) -> None:
        """Log the issues that appeared and cleared, once per collection, however many callers shared it."""
        with self._lock:
            if snapshot.number <= self._number:
                return
            if self._history is not None:
                self._history.add(Assessment(snapshot, health))
            before, self._number = self._issues, snapshot.number
            now = {_key(issue): issue for issue in health.issues}
            # The issues of a source that could not be read have not cleared: their state is unknown.
            parts = snapshot.parts()
            unread = {name for name, part in parts.items() if not succeeded(part)}
            now |= {key: issue for key, issue in before.items() if issue.source in unread and key not in now}
            self._issues = now
        for key in now.keys() - before.keys():
            advice = ENGLISH.render(now[key].recommendation)
            log.warning("issue appeared", extra=_facts(now[key]) | {"advice": advice})
        for key in before.keys() - now.keys():
            log.info("issue cleared", extra=_facts(before[key]))


def sentence(assessment: Assessment) -> str:
    """The state as one sentence for people."""
    snapshot, health = assessment.snapshot, assessment.health
    clauses = [
        f"health {health.score:g} of 100 ({health.status})",
        *_redis(snapshot),
        *_queues(snapshot),
        *(
            f"{name} not read: {part.message}"
            for name, part in snapshot.parts().items()
            if isinstance(part, Failed)
        ),
    ]
    issues = "; ".join(
        f"{ENGLISH.render(issue.title)} ({ENGLISH.render(issue.measured)})" for issue in health.issues
    )
    return f"{', '.join(clauses)}. {f'Issues: {issues}.' if issues else 'No issues.'}"


def _redis(snapshot: Snapshot) -> list[str]:
    redis = value_or_none(snapshot.redis)
    if redis is None:
        return []
    return [f"{len(redis.readings())} of {len(redis.nodes)} Redis nodes up"]


def _queues(snapshot: Snapshot) -> list[str]:
    bullmq = value_or_none(snapshot.bullmq)
    if bullmq is None:
        return []
    if not bullmq.discovered:
        return ["queues not discovered yet"]
    jobs = totals(queue.jobs for queue in bullmq.queues)
    unread = f" ({len(bullmq.unread)} more not read)" if bullmq.unread else ""
    figures = f"{jobs.waiting} waiting, {jobs.active} active, {jobs.failed} failed"
    return [f"{len(bullmq.queues)} queues{unread} with {figures}"]


def _key(issue: Issue) -> str:
    """The identity of an issue, whatever its measured value."""
    return f"{issue.name}/{issue.source}"


def _facts(issue: Issue) -> dict[str, object]:
    return {
        "issue": issue.name,
        "source": issue.source,
        "penalty": issue.penalty,
        "severity": issue.severity,
        "measured": ENGLISH.render(issue.measured),
        "threshold": ENGLISH.render(issue.threshold),
    }
