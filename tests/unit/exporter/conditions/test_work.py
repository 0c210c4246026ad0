from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.streams.events import Jobs
from exporter.conditions import jobs, work
from exporter.conditions.finding import Affected, Finding, Rule
from exporter.conditions.queue_limits import queue_limits
from exporter.config.settings import HealthSettings
from exporter.snapshot import (
    BullMQState,
    Events,
    Histogram,
    JobCounts,
    QueueId,
    QueueState,
    Rates,
    Search,
    Snapshot,
    Unlocked,
    Work,
)
from service.catalogs import ENGLISH, TRANSLATORS
from service.outcome import Failed, Ok

MAIL = QueueId("bull", "mail")
RULES: dict[str, Rule] = {
    "queue_standing_still": work.queue_standing_still,
    "queue_wait_high": work.queue_wait_high,
    "delayed_overdue": work.delayed_overdue,
    "active_without_lock": jobs.active_without_lock,
    "active_too_long": jobs.active_too_long,
    "jobs_stalled": jobs.jobs_stalled,
    "failures_rising": jobs.failures_rising,
    "paused_long": work.paused_long,
    "queue_without_workers": work.queue_without_workers,
    "no_queue_found": work.no_queue_found,
}


def queue(name: str = "mail", **fields: object) -> QueueState:
    """A queue with a waiting job and no worker; `fields` are those of QueueState or of its JobCounts."""
    counts = JobCounts(1, 0, 0, 0, 0, 0, 0)
    state = QueueState(QueueId("bull", name), counts, False, 0, 0, 0, 0, workers=0)
    jobs = {field: fields.pop(field) for field in JobCounts._fields if field in fields}
    return state._replace(jobs=counts._replace(**jobs), **fields)  # type: ignore[arg-type]


def state_of(*queues: QueueState, **fields: Any) -> BullMQState:
    given: dict[str, Any] = {"work": {}, "watched_seconds": 1e9} | fields
    return BullMQState(queues or (queue(),), **given)


def found(state: BullMQState, settings: Mapping[str, object] | None = None) -> dict[str, Finding]:
    """What the rules find."""
    snapshot = Snapshot(0.0, bullmq=Ok(state))
    model = HealthSettings.model_validate(settings or {})
    findings = {name: rule(snapshot, model) for name, rule in RULES.items()}
    return {name: finding for name, finding in findings.items() if finding is not None}


def working(**fields: float | None) -> dict[QueueId, Work]:
    return {MAIL: Work(**fields)}


def hour(completed: int = 0, failed: int = 0, stalled: int = 0) -> Rates:
    none = (None,) * 7
    return Rates(300.0, *none, failed, 0, completed_last_hour=completed, stalled_last_hour=stalled)


def times(fast: int, slow: int = 0, beyond: int = 0) -> Events:
    """Jobs that needed up to 1 s, up to 10 s, and more."""
    histogram = Histogram((1.0, 10.0), (fast, slow, beyond), 0.0)
    counters = Jobs((1.0, 10.0)).counters()
    return Events(counters._replace(processing={**counters.processing, "completed": histogram}), 0, 0, 0.0)


IDLE = queue(waiting=0)
BUSY = queue(waiting=0, active=1, workers=1)
NO_SEARCH = state_of().search
CASES: dict[str, tuple[BullMQState, set[str]]] = {
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
    "one look: the oldest waits for 599 s": (state_of(queue(oldest_waiting=599.0), work=None), set()),
    "one look: the oldest waits for 600 s": (
        state_of(queue(oldest_waiting=600.0), work=None),
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
    "one job stalled": (state_of(BUSY, rates={MAIL: hour(stalled=1)}), set()),
    "two jobs stalled": (state_of(BUSY, rates={MAIL: hour(stalled=2)}), {"jobs_stalled"}),
    "a quarter of the jobs failed": (state_of(BUSY, rates={MAIL: hour(75, 25)}), set()),
    "over a quarter of the jobs failed": (state_of(BUSY, rates={MAIL: hour(74, 26)}), {"failures_rising"}),
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
    "paused since the exporter's start, the oldest job waits for a day": (
        state_of(queue(paused=True, oldest_waiting=9e4), work=working(paused=50), watched_seconds=50),
        {"paused_long"},
    ),
    "paused just now, the oldest job waits for a day": (
        state_of(queue(paused=True, oldest_waiting=9e4), work=working(paused=40), watched_seconds=50),
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


@pytest.mark.parametrize(("state", "names"), CASES.values(), ids=CASES)
def test_which_conditions_are_there(state: BullMQState, names: set[str]) -> None:
    assert found(state).keys() == names


@pytest.mark.parametrize(
    "state", [state for name, (state, names) in CASES.items() if names and name != "none found"]
)
def test_an_excluded_queue_has_none(state: BullMQState) -> None:
    settings: dict[str, object] = {"queues": [{"match": "mail", "excluded": True}]}
    left = found(state, settings).keys()
    assert left <= {"no_queue_found"}


def text(finding: Finding, language: str = "en") -> str:
    translator = ENGLISH if language == "en" else TRANSLATORS["id"]
    parts = (finding.title, finding.measured, finding.threshold, finding.recommendation)
    return " | ".join(translator.render(part) for part in parts)


def only(state: BullMQState, settings: Mapping[str, object] | None = None) -> Finding:
    (finding,) = found(state, settings).values()
    return finding


@pytest.mark.parametrize("state", [state for state, names in CASES.values() if names])
def test_every_text_is_there_in_both_languages(state: BullMQState) -> None:
    finding = only(state)
    assert text(finding) != text(finding, "id")
    assert "{" not in text(finding) + text(finding, "id")


def test_the_worst_is_first_and_has_the_advice() -> None:
    sms = QueueId("bull", "sms")
    both = {MAIL: Work(standing=100, without_workers=100), sms: Work(standing=700)}
    finding = only(state_of(queue(), queue("sms", workers=2, waiting=7), work=both))
    assert finding.affected == (Affected("sms", 700), Affected("mail", 100))
    assert text(finding) == (
        "Jobs wait and nothing takes them | sms: 7 jobs, none started for 11 min 40 s; mail: 1 job, no "
        "worker, none started for 1 min 40 s | at most 1 min without a worker, 10 min without a start | "
        "2 workers of "
        "sms are connected and take nothing: restart them. They may be paused, or not have resumed after an "
        "outage of Redis. Their connections: redis-cli -h HOST -p PORT client list | grep -F bull:c21z"
    )


def test_advice_by_cause() -> None:
    stands = working(standing=700, without_workers=700)
    assert "Start workers of mail" in text(only(state_of(work=stands)))
    unknown = queue(workers=None, workers_unknown="CLIENT LIST: NOPERM")
    assert "(CLIENT LIST: NOPERM)" in text(only(state_of(unknown, work=working(standing=700))))
    gone = {MAIL: Unlocked(2, 90.0)}
    assert "Start a worker of mail" in text(only(state_of(queue(active=2), unlocked=gone)))
    assert "skipStalledCheck" in text(only(state_of(BUSY, unlocked=gone)))


def test_what_was_searched_is_said() -> None:
    search = Search(("app", "bull"), keys=1234, ended_at=1.0, missing=("mial",))
    assert "searched under app, bull; 1234 keys in Redis; in the settings, but not in Redis: mial" in text(
        only(BullMQState((), search=search))
    )
    assert "BULLMQ_QUEUES" in text(only(BullMQState((), search=search)))
    assert "searched under any prefix" in text(only(BullMQState(())))
    assert only(BullMQState((), search=search)).affected == (Affected("mial", 1.0),)


def test_all_queues_together_are_named_beside_the_worst() -> None:
    sms = QueueId("bull", "sms")
    finding = only(state_of(rates={MAIL: hour(60, 40), sms: hour(90, 30)}))
    assert "mail: 40 % of 100 jobs of the last hour; all queues: 31.8 % of 220 jobs" in text(finding)
    assert finding.affected == (Affected("mail", 0.4),)


def test_a_wait_counts_only_where_a_limit_is_set() -> None:
    waits = state_of(queue(oldest_waiting=100.0), queue("sms", oldest_waiting=200.0))
    assert found(waits) == {}
    of_mail = {"queues": [{"match": "ma*", "wait_seconds": 60}]}
    assert only(waits, of_mail).affected == (Affected("mail", 100.0),)
    of_all = {"thresholds": {"wait_seconds": 150}, "queues": [{"match": "ma*", "wait_seconds": 60}]}
    assert only(waits, of_all).affected == (Affected("sms", 200.0), Affected("mail", 100.0))
    assert "at most 2 min 30 s" in text(only(waits, of_all))
    paused = state_of(queue(oldest_waiting=100.0, paused=True))
    assert found(paused, of_mail) == {}


def test_the_first_pattern_that_matches_counts() -> None:
    stands = state_of(work=working(standing=100, without_workers=100))
    patient = {"match": "mail", "no_worker_seconds": 200}
    rules: dict[str, object] = {"queues": [patient, {"match": "*", "no_worker_seconds": 10}]}
    assert found(stands, rules) == {}
    rules = {"queues": [{"match": "*", "no_worker_seconds": 10}, patient]}
    assert "at most 10 s without a worker, 10 min without a start" in text(only(stands, rules))


def test_a_queue_without_a_pattern_has_the_common_thresholds() -> None:
    settings = HealthSettings.model_validate(
        {"thresholds": {"stalled_jobs": 5}, "queues": [{"match": "a*", "active_ratio": 3}]}
    )
    limits = queue_limits(settings)
    common, other = limits.of("b"), limits.of("abc")
    assert common is not None
    assert other is not None
    assert (common.active_ratio, common.stalled_jobs) == (10, 5)
    assert (other.active_ratio, other.stalled_jobs) == (3, 5)
    assert (limits.least("active_ratio"), limits.least("wait_seconds")) == (3, None)


@given(
    st.floats(0, 1e5),
    st.none() | st.floats(0, 1e5),
    st.none() | st.integers(0, 2),
    st.floats(0, 1e5),
)
def test_longer_never_ends_it(
    standing: float, without: float | None, workers: int | None, more: float
) -> None:
    state = queue(workers=workers)
    before = found(state_of(state, work=working(standing=standing, without_workers=without)))
    longer = None if without is None else without + more
    after = found(state_of(state, work=working(standing=standing + more, without_workers=longer)))
    assert "queue_standing_still" not in before or "queue_standing_still" in after
