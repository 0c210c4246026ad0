"""States of queues and their work, and the conditions of work that each has: `WORK_CASES`."""

from __future__ import annotations

from typing import Any

from exporter.bullmq.streams.events import Jobs
from exporter.snapshot.histogram import Histogram
from exporter.snapshot.queues import (
    BullMQState,
    Events,
    JobCounts,
    QueueId,
    QueueState,
    Rates,
    Search,
    Unlocked,
    Work,
)
from service.outcome import Failed

MAIL = QueueId("bull", "mail")


def queue(name: str = "mail", **fields: object) -> QueueState:
    """A queue with a waiting job and no worker; `fields` are those of QueueState or of its JobCounts."""
    counts = JobCounts(1, 0, 0, 0, 0, 0, 0)
    state = QueueState(QueueId("bull", name), counts, False, 0, 0, 0, 0, workers=0)
    jobs = {field: fields.pop(field) for field in JobCounts._fields if field in fields}
    return state._replace(jobs=counts._replace(**jobs), **fields)  # type: ignore[arg-type]


def state_of(*queues: QueueState, **fields: Any) -> BullMQState:
    given: dict[str, Any] = {"work": {}, "watched_seconds": 1e9} | fields
    return BullMQState(queues or (queue(),), **given)


def working(**fields: Any) -> dict[QueueId, Work]:
    return {MAIL: Work(**fields)}


def before(**fields: float) -> dict[QueueId, Work]:
    """Clocks that began at the first look at the queue."""
    return working(**fields, **dict.fromkeys([f"{name}_before" for name in fields], True))


def hour(completed: int = 0, failed: int = 0, stalled: int = 0, retried: int = 0) -> Rates:
    return Rates(300.0, None, None, None, failed, 0, completed, stalled, retried)


def times(fast: int, slow: int = 0, beyond: int = 0, *, bounds: tuple[float, float] = (1.0, 10.0)) -> Events:
    """Jobs that needed up to 1 s, up to 10 s, and more; `bounds` are these seconds."""
    histogram = Histogram(bounds, (fast, slow, beyond), 0.0)
    counters = Jobs(bounds).counters()
    return Events(counters._replace(processing={**counters.processing, "completed": histogram}), 0, 0, 0.0)


def hanging(
    *,
    ends: float | None = 0.0,
    seconds: float = 300.0,
    quick: int = 100,
    minutes: int = 0,
    beyond: int = 0,
    **fields: object,
) -> BullMQState:
    """A worker that has had a job for an hour, and others wait; `ends`: jobs that end each minute, for these
    seconds. Jobs that needed up to 1 s, up to 10 min, and more."""
    given: dict[str, Any] = {"active": 1, "workers": 1, "longest_active": 3600.0, "oldest_waiting": 3600.0}
    rates = hour()._replace(seconds=seconds, completed_per_minute=ends, failed_per_minute=ends)
    events = {MAIL: times(quick, minutes, beyond, bounds=(1.0, 600.0))}
    return state_of(queue(**given | fields), rates={MAIL: rates}, events=events)


IDLE = queue(waiting=0)
BUSY = queue(waiting=0, active=1, workers=1)
NO_SEARCH = state_of().search
WORK_CASES: dict[str, tuple[BullMQState, set[str]]] = {
    "nothing known": (state_of(), set()),
    "no worker for 59 s": (state_of(work=working(standing=99, without_workers=59)), set()),
    "no worker for 60 s": (state_of(work=working(standing=99, without_workers=60)), {"queue_standing_still"}),
    "no worker for an hour, the job came just now": (
        state_of(work=working(standing=5, without_workers=3600)),
        set(),
    ),
    "there was no worker, and that is not known now": (
        state_of(queue(workers=None), work=working(standing=99, without_workers=90)),
        set(),
    ),
    "workers, and no start for 599 s": (state_of(queue(workers=2), work=working(standing=599)), set()),
    "workers, and no start for 600 s": (
        state_of(queue(workers=2), work=working(standing=600)),
        {"queue_standing_still"},
    ),
    "unknown workers, and no start for 600 s": (
        state_of(queue(workers=None), work=working(standing=600)),
        {"queue_standing_still"},
    ),
    "no worker at the first look, the oldest waits for 599 s": (
        state_of(queue(oldest_waiting=599.0), work=before(standing=5, without_workers=5)),
        set(),
    ),
    "no worker at the first look, the oldest waits for 600 s": (
        state_of(queue(oldest_waiting=600.0), work=before(standing=5, without_workers=5)),
        {"queue_standing_still"},
    ),
    "no worker at the first look, a delayed job is overdue for 600 s": (
        state_of(
            queue(waiting=0, delayed=1, delayed_overdue=1, longest_overdue=600.0),
            work=before(standing=5, without_workers=5),
        ),
        {"queue_standing_still"},
    ),
    "no worker soon after the first look, the oldest waits for 600 s": (
        state_of(queue(oldest_waiting=600.0), work=working(standing=5, without_workers=5)),
        set(),
    ),
    "no start since the first look 59 s ago, the oldest waits for 600 s": (
        state_of(queue(workers=1, oldest_waiting=600.0), work=before(standing=59)),
        set(),
    ),
    "no start since the first look 60 s ago, the oldest waits for 599 s": (
        state_of(queue(workers=1, oldest_waiting=599.0), work=before(standing=60)),
        set(),
    ),
    "no start since the first look 60 s ago, the oldest waits for 600 s": (
        state_of(queue(workers=1, oldest_waiting=600.0), work=before(standing=60)),
        {"queue_standing_still"},
    ),
    "no start for 60 s after one, the oldest waits for 600 s": (
        state_of(queue(workers=1, oldest_waiting=600.0), work=working(standing=60)),
        set(),
    ),
    "one look: the oldest waits for 599 s": (state_of(queue(oldest_waiting=599.0), work=None), set()),
    "one look: the oldest waits for 600 s": (
        state_of(queue(oldest_waiting=600.0), work=None),
        {"queue_standing_still"},
    ),
    "one look: a delayed job is overdue for 600 s": (
        state_of(queue(waiting=0, delayed=1, delayed_overdue=1, longest_overdue=600.0), work=None),
        {"queue_standing_still"},
    ),
    "one look: workers": (state_of(queue(oldest_waiting=9e9, workers=1), work=None), set()),
    "one look: unknown workers": (state_of(queue(oldest_waiting=9e9, workers=None), work=None), set()),
    "one look: a rate limit": (state_of(queue(oldest_waiting=9e4, rate_limit_ttl=1.0), work=None), set()),
    "overdue for 60 s": (state_of(BUSY, work=working(overdue=60)), set()),
    "overdue for 61 s": (state_of(BUSY, work=working(overdue=61)), {"delayed_overdue"}),
    "overdue where the queue stands": (
        state_of(queue(workers=1), work=working(overdue=700, standing=700)),
        {"queue_standing_still"},
    ),
    "no lock for 60 s": (state_of(BUSY, unlocked={MAIL: Unlocked(1, 60.0)}), set()),
    "no lock for 61 s": (state_of(BUSY, unlocked={MAIL: Unlocked(1, 61.0)}), {"active_without_lock"}),
    "no lock where the queue stands": (
        state_of(
            queue(active=1),
            work=working(standing=99, without_workers=99),
            unlocked={MAIL: Unlocked(1, 99.0)},
        ),
        {"queue_standing_still"},
    ),
    "no lock at one look": (state_of(BUSY, work=None, unlocked={MAIL: Unlocked(1, 61.0)}), set()),
    "active for 10 times the others' time, and 5 min": (
        state_of(BUSY._replace(longest_active=301.0), events={MAIL: times(100)}),
        {"active_too_long"},
    ),
    "active for 5 min": (state_of(BUSY._replace(longest_active=300.0), events={MAIL: times(100)}), set()),
    "active for less than 10 times the others' time": (
        state_of(
            BUSY._replace(longest_active=99.0),
            events={MAIL: times(0, 100)},
        ),
        set(),
    ),
    "active for long, and few ended before": (
        state_of(BUSY._replace(longest_active=9e9), events={MAIL: times(19)}),
        set(),
    ),
    "active for long, as others": (
        state_of(BUSY._replace(longest_active=9e9), events={MAIL: times(100, 0, 5)}),
        set(),
    ),
    "active for long, and without a lock": (
        state_of(
            BUSY._replace(longest_active=9e9), events={MAIL: times(100)}, unlocked={MAIL: Unlocked(1, 9.0)}
        ),
        set(),
    ),
    "active for long without events": (state_of(BUSY._replace(longest_active=9e9)), set()),
    "an hour behind a job that does not end": (hanging(), {"queue_standing_still"}),
    "less than an hour behind a job that does not end": (
        hanging(longest_active=3599.0),
        {"active_too_long"},
    ),
    "a job that does not end, and another one waits for less than an hour": (
        hanging(oldest_waiting=3599.0),
        {"active_too_long"},
    ),
    "a job that does not end, and others end": (hanging(ends=0.2), {"active_too_long"}),
    "a job that does not end, and events are missing": (hanging(ends=None), {"active_too_long"}),
    "a job that does not end, and none waits": (hanging(waiting=0), {"active_too_long"}),
    "a job that does not end in a paused queue": (hanging(paused=True), {"active_too_long"}),
    "a job that does not end where none may start": (hanging(concurrency_limit=0), {"active_too_long"}),
    "a job that does not end at a rate limit": (hanging(rate_limit_ttl=5.0), {"active_too_long"}),
    "a job that does not end fills the global concurrency": (
        hanging(concurrency_limit=1),
        {"queue_standing_still"},
    ),
    "jobs take hours in this queue": (hanging(longest_active=9e4, quick=100, beyond=5), set()),
    "jobs end seldom in this queue": (
        hanging(longest_active=9e4, quick=0, minutes=100),
        {"active_too_long"},
    ),
    "none ended, in less than the window": (hanging(seconds=200.0), {"active_too_long"}),
    "nobody knows how long jobs take in this queue": (hanging(quick=19), set()),
    "one job stalled": (state_of(BUSY, rates={MAIL: hour(stalled=1)}), set()),
    "two jobs stalled": (state_of(BUSY, rates={MAIL: hour(stalled=2)}), {"jobs_stalled"}),
    "a quarter of the jobs failed": (state_of(BUSY, rates={MAIL: hour(75, 25)}), set()),
    "over a quarter of the jobs failed": (state_of(BUSY, rates={MAIL: hour(74, 26)}), {"failures_rising"}),
    "20 attempts were retried and no job completed": (
        state_of(BUSY, rates={MAIL: hour(retried=20)}),
        {"failures_rising"},
    ),
    "some attempts were retried, the others failed, and no job completed": (
        state_of(BUSY, rates={MAIL: hour(failed=10, retried=10)}),
        {"failures_rising"},
    ),
    "19 attempts were retried and no job completed": (state_of(BUSY, rates={MAIL: hour(retried=19)}), set()),
    "attempts were retried and a job completed": (state_of(BUSY, rates={MAIL: hour(1, retried=900)}), set()),
    "all of 19 jobs failed": (state_of(BUSY, rates={MAIL: hour(0, 19)}), set()),
    "all of 10 and 10 jobs failed": (
        state_of(BUSY, queue("sms"), rates={MAIL: hour(0, 10), QueueId("bull", "sms"): hour(0, 10)}),
        {"failures_rising"},
    ),
    "paused for a day without jobs": (
        state_of(queue(waiting=0, paused=True), work=working(paused=86_400)),
        set(),
    ),
    "paused for less than a day": (state_of(queue(paused=True), work=working(paused=86_399)), set()),
    "paused for a day": (state_of(queue(paused=True), work=working(paused=86_400)), {"paused_long"}),
    "paused at the first look, the oldest job waits for a day": (
        state_of(queue(paused=True, oldest_waiting=9e4), work=before(paused=50)),
        {"paused_long"},
    ),
    "paused just now, the oldest job waits for a day": (
        state_of(queue(paused=True, oldest_waiting=9e4), work=working(paused=40)),
        set(),
    ),
    "a global concurrency of 0 for a day": (
        state_of(queue(concurrency_limit=0), work=working(paused=86_400)),
        {"paused_long"},
    ),
    "a global concurrency of 0 for less than a day": (
        state_of(queue(concurrency_limit=0), work=working(paused=86_399)),
        set(),
    ),
    "no worker for 600 s and a global concurrency of 0": (
        state_of(queue(waiting=0, concurrency_limit=0), work=working(without_workers=600, paused=600)),
        set(),
    ),
    "a parent waits for its children for a day": (
        state_of(queue(waiting=0, workers=1, waiting_children=2, longest_waiting_children=86_400.0)),
        set(),
    ),
    "a parent waits for its children for over a day": (
        state_of(queue(waiting=0, workers=1, waiting_children=2, longest_waiting_children=86_401.0)),
        {"waiting_children_long"},
    ),
    "nobody knows for how long parents wait": (
        state_of(queue(waiting=0, workers=1, waiting_children=None)),
        set(),
    ),
    "no worker for 599 s and no job": (state_of(IDLE, work=working(without_workers=599)), set()),
    "no worker for 600 s and no job": (
        state_of(IDLE, work=working(without_workers=600)),
        {"queue_without_workers"},
    ),
    "no worker for 600 s and rate-limited jobs": (
        state_of(queue(rate_limit_ttl=60.0), work=working(without_workers=600)),
        {"queue_without_workers"},
    ),
    "no worker for 600 s and paused": (
        state_of(queue(paused=True), work=working(without_workers=600, paused=600)),
        set(),
    ),
    "no worker for 600 s and a job just now": (
        state_of(queue(), work=working(without_workers=600, standing=0)),
        set(),
    ),
    "none found": (BullMQState(()), {"no_queue_found"}),
    "the search goes on": (BullMQState((), discovered=False), set()),
    "the search is refused": (BullMQState((), search_refused=True), set()),
    "a queue is unread": (BullMQState((), {MAIL: Failed("timeout", "no")}), set()),
    "only named queues that are not there": (
        BullMQState((queue(workers=1),), search=Search(missing=("mail",)), work={}),
        {"no_queue_found"},
    ),
    "a named queue is there and another is not": (
        BullMQState((queue("sms"), queue()), search=Search(missing=("mail",)), work={}),
        set(),
    ),
}
