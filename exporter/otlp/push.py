"""Pushes the series at an interval, in a thread of its own: no scrape and no reading waits for an endpoint.

Each push has all series as of now, so that a lost one costs a point in time and nothing else: what could not
be sent until the next push is due is dropped, never kept.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Final, NamedTuple, Protocol

from exporter.assessment import Assessment
from exporter.config.otlp import OtlpSettings
from exporter.metrics.families import FAMILIES
from exporter.otlp.answers import PushAnswer, PushFailure
from exporter.otlp.points import PushedFamily, RegistryMetric, process_families, pushed_families
from exporter.otlp.requests import PushRequest, Resource, push_requests
from exporter.snapshot.host import PushState
from service.clock import Deadline, monotonic, now
from service.logs import ProblemLog
from service.threads import backoff

log = logging.getLogger(__name__)

_COLLECTION_SECONDS: Final = 10.0  # as a scrape without a time-out has
_LONGEST_PUSH: Final = 60.0  # with all attempts: then it has failed
_GOES_ON: Final[frozenset[PushFailure | None]] = frozenset({None, "partial", "rejected"})
"""After these the other requests of a push are sent."""


class Sender(Protocol):
    """Sends a request once."""

    @property
    def place(self) -> str:
        """The endpoint, for the log."""

    def send(self, request: PushRequest) -> PushAnswer:
        """What the endpoint answers, or why it does not."""

    def close(self) -> None:
        """Close the connections."""


class PushTotals(NamedTuple):
    """Since the start: points that were taken, and rejected by the endpoint; pushes that failed by reason. Of
    the last push: whether all of it was taken (None: there was none), and seconds that it took.
    `last_success`: unix s; None: none."""

    taken: int = 0
    rejected: int = 0
    failures: Mapping[PushFailure, int] = {}
    success: bool | None = None
    seconds: float = 0.0
    last_success: float | None = None


class _Push:
    """A push that goes on: what is still to be sent, until when, and when the next one is due."""

    def __init__(self, requests: Iterator[PushRequest], began: float, interval: float) -> None:
        self.began = began
        self.end = began + min(interval, _LONGEST_PUSH)
        self.next = began + interval
        self.requests = requests
        self.request = next(requests, None)
        self.attempts = 0
        self.taken = self.rejected = 0
        self.failure = PushAnswer(None)

    def advance(self) -> None:
        self.request = next(self.requests, None)
        self.attempts = 0


class Pusher:
    """One thread calls `step`; any thread may read `totals` and `state`. `assess` collects, and is None while
    monitoring is off; `own` are the series of the process."""

    def __init__(
        self,
        settings: OtlpSettings,
        sender: Sender,
        *,
        assess: Callable[[Deadline], Assessment | None],
        own: Callable[[], Iterable[RegistryMetric]],
        resource: Callable[[], Resource],
    ) -> None:
        self._interval = settings.interval_seconds
        self._sender = sender
        self._assess = assess
        self._own = own
        self._resource = resource
        self._push: _Push | None = None
        self._due = 0.0
        self._lock = threading.Lock()
        self._totals = PushTotals()
        self._failures: Counter[PushFailure] = Counter()
        self._state = PushState()
        self._failing_since: float | None = None
        self._problem = ProblemLog(log, "push failed", "push recovered", field="reason")
        self._warning = ProblemLog(log, "push warning", None, field="message")

    @property
    def longest_step(self) -> float:
        """Seconds from the end of a step to that of the next, at most."""
        return max(0.0, self._due - monotonic()) + self._interval + _LONGEST_PUSH

    @property
    def totals(self) -> PushTotals:
        with self._lock:
            return self._totals

    def state(self) -> PushState:
        """Of the last pushes, for the condition."""
        with self._lock:
            since = self._failing_since
            return self._state._replace(seconds=0.0 if since is None else monotonic() - since)

    def step(self) -> float:
        """Begin a push, or go on with one that waits; returns the seconds until the next step."""
        if (early := self._due - monotonic()) > 0:
            return early
        push, self._push = self._push, None  # of one that raises nothing is kept
        if push is None:
            began = monotonic()
            push = _Push(self._requests(), began, self._interval)
        pause = self._go_on(push)
        self._due = monotonic() + pause
        return pause

    def close(self) -> None:
        self._sender.close()

    def _requests(self) -> Iterator[PushRequest]:
        assessment = self._assess(Deadline.after(min(_COLLECTION_SECONDS, self._interval)))
        families: Iterable[PushedFamily] = list(process_families(self._own()))
        if assessment is not None:
            families = chain(pushed_families(assessment, FAMILIES), families)
        at = assessment.snapshot.taken_at if assessment is not None else now()
        return push_requests(families, self._resource(), at)

    def _go_on(self, push: _Push) -> float:
        while push.request is not None:
            answer = self._sender.send(push.request)
            if answer.again:
                push.attempts += 1
                jittered = backoff(push.attempts) * random.uniform(0.5, 1.0)  # noqa: S311  # no secret
                pause = max(answer.after or 0.0, jittered)
                if monotonic() + pause < push.end:
                    self._push = push
                    return pause
            self._count(push, push.request, answer)
            if answer.failure not in _GOES_ON:
                self._finish(push)
                return max(0.0, push.next - monotonic(), answer.after or 0.0)
            push.advance()
            if monotonic() > push.end and push.request is not None:
                push.failure = PushAnswer("timeout", "the push was not done in time")
                break
        self._finish(push)
        return max(0.0, push.next - monotonic())

    def _count(self, push: _Push, request: PushRequest, answer: PushAnswer) -> None:
        if answer.failure is None:
            push.taken += request.points
            self._warning.report(answer.text, endpoint=self._sender.place)
            return
        push.failure = answer
        if answer.failure == "partial":
            push.rejected += answer.rejected
            push.taken += request.points - answer.rejected
        elif answer.failure == "rejected":
            push.rejected += request.points

    def _finish(self, push: _Push) -> None:
        failure = push.failure.failure
        with self._lock:
            before = self._totals
            if failure is None:
                self._state, self._failing_since = PushState(), None
            else:
                self._failures[failure] += 1
                self._state = PushState(self._state.failures + 1, failure)
                self._failing_since = self._failing_since or push.began
            self._totals = PushTotals(
                taken=before.taken + push.taken,
                rejected=before.rejected + push.rejected,
                failures=dict(self._failures),
                success=failure is None,
                seconds=monotonic() - push.began,
                last_success=now() if failure is None else before.last_success,
            )
        endpoint = self._sender.place
        if failure is None:
            self._problem.report("", endpoint=endpoint)
        else:
            text, rejected = push.failure.text, push.rejected
            self._problem.report(failure, endpoint=endpoint, error=text, rejected=rejected)
