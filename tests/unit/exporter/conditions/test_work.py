from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.assessment import Assessment
from exporter.conditions import flows, jobs, work
from exporter.conditions.finding import Affected, AffectedQueues, Finding
from exporter.conditions.queue_limits import queue_limits
from exporter.conditions.work import connections_command
from exporter.config.health import HealthSettings
from exporter.health import RULES, Health, assess
from exporter.metrics.health import FAMILIES
from exporter.snapshot.queues import BullMQState, QueueId, QueueState, Search, Unlocked, Work
from exporter.snapshot.redis import RedisState, Topology, TopologyNode
from exporter.snapshot.whole import Snapshot
from service.catalogs import ENGLISH, TRANSLATORS
from service.outcome import Failed, Ok
from tests.support.health_cases import reading
from tests.support.work_cases import (
    BUSY,
    IDLE,
    MAIL,
    WORK_CASES,
    before,
    hour,
    queue,
    state_of,
    working,
)

MODULES = {module.__name__ for module in (work, jobs, flows)}
OF_WORK = {name: rule for name, rule in RULES.items() if rule.__module__ in MODULES}


def found(state: BullMQState, settings: Mapping[str, object] | None = None) -> dict[str, Finding]:
    """What the rules find."""
    snapshot = Snapshot(0.0, bullmq=Ok(state))
    model = HealthSettings.model_validate(settings or {})
    findings = {name: rule(snapshot, model) for name, rule in OF_WORK.items()}
    return {name: finding for name, finding in findings.items() if finding is not None}


@pytest.mark.parametrize(("state", "names"), WORK_CASES.values(), ids=WORK_CASES)
def test_which_conditions_are_there(state: BullMQState, names: set[str]) -> None:
    assert found(state).keys() == names


@pytest.mark.parametrize(
    "state", [state for name, (state, names) in WORK_CASES.items() if names and name != "none found"]
)
def test_an_excluded_queue_has_none(state: BullMQState) -> None:
    settings: dict[str, object] = {"queues": [{"match": "mail", "excluded": True}]}
    left = found(state, settings).keys()
    assert left <= {"no_queue_found"}


def text(finding: Finding, language: str = "en") -> str:
    translator = ENGLISH if language == "en" else TRANSLATORS["id"]
    parts = (finding.title, finding.measured, finding.threshold, finding.recommendation)
    return " | ".join(translator.render(part) for part in parts)


def affected(queue: str, value: float) -> Affected:
    return Affected(queue, value, QueueId("bull", queue))


def only(state: BullMQState, settings: Mapping[str, object] | None = None) -> Finding:
    (finding,) = found(state, settings).values()
    return finding


@pytest.mark.parametrize("state", [state for state, names in WORK_CASES.values() if names])
def test_every_text_is_there_in_both_languages(state: BullMQState) -> None:
    finding = only(state)
    assert text(finding) != text(finding, "id")
    assert "{" not in text(finding) + text(finding, "id")


def test_the_worst_is_first_and_has_the_advice() -> None:
    sms = QueueId("bull", "sms")
    both = {MAIL: Work(standing=100, without_workers=100), sms: Work(standing=700)}
    finding = only(state_of(queue(), queue("sms", workers=2, waiting=7), work=both))
    assert finding.affected == (affected("sms", 700), affected("mail", 100))
    assert text(finding) == (
        "Jobs wait and nothing takes them | sms: 7 jobs, none started for 11 min 40 s; mail: 1 job, no "
        "worker, none started for 1 min 40 s | at most 1 min without a worker, 10 min without a start, 1 h "
        "behind a job that does not end | "
        "2 workers of "
        "sms are connected and take nothing: restart them. They may be paused, or not have resumed after an "
        "outage of Redis. Their connections: redis-cli -h HOST -p PORT client list | grep -F bull:c21z"
    )


@pytest.mark.parametrize(
    ("name", "silent", "port"), [("{mail}", "", 7002), ("{sms}", "", 7003), ("{sms}", "c:7003", 7001)]
)
def test_connections_are_looked_up_where_the_queue_is(name: str, silent: str, port: int) -> None:
    """Elsewhere the list would be empty, as if no worker were connected. Any node if that one is down."""
    nodes = (
        TopologyNode("a:7001", "replica", "one", "c:7003"),
        TopologyNode("b:7002", "master", "two", slots=((0, 8191),)),
        TopologyNode("c:7003", "master", "one", slots=((8192, 16383),)),
    )
    answers = {
        node.address: Failed("timeout", "late") if node.address == silent else reading() for node in nodes
    }
    redis = Ok(RedisState(Topology("cluster", nodes), answers))
    assert f"-p {port} client list" in connections_command(QueueId("bull", name), Snapshot(0.0, redis))


def test_affected_queues_are_a_sequence_like_any_other() -> None:
    sms = QueueId("app", "sms")
    queues = AffectedQueues([sms, MAIL], {MAIL: 1.0, sms: 2.0})
    both = (Affected("app:sms", 2.0, sms), affected("mail", 1.0))
    assert queues == both
    assert both == queues
    assert queues != both[:1]
    assert (queues[0], queues[-1], queues[1:], len(queues), [*queues]) == (*both, both[1:], 2, [*both])
    with pytest.raises(IndexError):
        queues[2]


def test_advice_by_cause() -> None:
    stands = working(standing=700, without_workers=700)
    assert "Start workers of mail" in text(only(state_of(work=stands)))
    unknown = queue(workers=None, workers_unknown="CLIENT LIST: NOPERM")
    assert "(CLIENT LIST: NOPERM)" in text(only(state_of(unknown, work=working(standing=700))))
    gone = {MAIL: Unlocked(2, 90.0)}
    assert "Start a worker of mail" in text(only(state_of(queue(active=2), unlocked=gone)))
    assert "skipStalledCheck" in text(only(state_of(BUSY, unlocked=gone)))


def test_workers_that_hang_are_told_with_their_jobs() -> None:
    hung: dict[str, Any] = {"unlocked": {MAIL: Unlocked(50, 90.0)}}
    state = queue(workers=2, active=50, waiting=7)
    stands = text(only(state_of(state, work=working(standing=700), **hung)))
    assert "mail: 7 jobs, none started for 11 min 40 s; active without a lock: 50 |" in stands
    assert "2 workers of mail are connected, take nothing and do not renew the locks of their jobs" in stands
    early = text(only(state_of(state, work=working(standing=90), **hung)))
    assert "mail: 50 jobs without a lock for 1 min 30 s" in early
    assert "2 workers of mail are connected, take nothing and do not renew the locks of their jobs" in early
    more: dict[str, Any] = {"unlocked": {MAIL: Unlocked(2_010, 90.0, more=True)}}
    assert "active without a lock: at least 2010" in text(
        only(state_of(state, work=working(standing=700), **more))
    )
    assert "mail: at least 2010 jobs without a lock" in text(only(state_of(state, **more)))


def test_a_global_concurrency_of_0_is_told_as_such() -> None:
    told = text(only(state_of(queue(concurrency_limit=0), work=working(paused=86_400))))
    assert "mail: a global concurrency of 0 for 1 d" in told
    assert "(queue.removeGlobalConcurrency())" in told


def test_advice_for_a_queue_without_workers_does_not_claim_that_there_were_some() -> None:
    advice = text(only(state_of(work=working(standing=700, without_workers=700))))
    assert "if there were any, see in their log why they ended" in advice


OPEN = {
    "no worker at the first look, the oldest waits for a minute": (
        state_of(queue(oldest_waiting=60.0), work=before(standing=5, without_workers=5)),
        {"queue_standing_still"},
    ),
    "no worker at the first look, the job is new": (
        state_of(queue(oldest_waiting=59.0), work=before(standing=5, without_workers=5)),
        set(),
    ),
    "no worker at the first look, the age of the job is not known": (
        state_of(queue(), work=before(standing=5, without_workers=5)),
        {"queue_standing_still"},
    ),
    "no worker since a moment": (state_of(queue(), work=working(standing=5, without_workers=5)), set()),
    "no start since the first look, the oldest waits for 600 s": (
        state_of(queue(workers=1, oldest_waiting=600.0), work=before(standing=59)),
        {"queue_standing_still"},
    ),
    "no start since the first look, the oldest waits for 599 s": (
        state_of(queue(workers=1, oldest_waiting=599.0), work=before(standing=59)),
        set(),
    ),
    "it is known to stand": (
        state_of(queue(workers=1, oldest_waiting=600.0), work=before(standing=60)),
        set(),
    ),
    "another one is known to stand": (
        state_of(
            queue(workers=1, oldest_waiting=600.0),
            queue("sms"),
            work=before(standing=5) | {QueueId("bull", "sms"): Work(standing=90, without_workers=90)},
        ),
        set(),
    ),
    "no worker and no job at the first look": (
        state_of(IDLE, work=before(without_workers=5)),
        {"queue_without_workers"},
    ),
    "no worker and no job since a moment": (state_of(IDLE, work=working(without_workers=5)), set()),
    "paused at the first look": (state_of(queue(paused=True), work=before(paused=5)), {"paused_long"}),
    "paused since a moment": (state_of(queue(paused=True), work=working(paused=5)), set()),
    "jobs without a lock at the first look": (
        state_of(BUSY, unlocked={MAIL: Unlocked(1, 5.0)}, watched_seconds=5.0),
        {"active_without_lock"},
    ),
    "jobs without a lock since a moment": (state_of(BUSY, unlocked={MAIL: Unlocked(1, 5.0)}), set()),
    "one look": (state_of(queue(oldest_waiting=60.0), work=None), set()),
}


@pytest.mark.parametrize(("state", "names"), OPEN.values(), ids=OPEN)
def test_what_is_not_known_yet_after_a_start_has_no_series(state: BullMQState, names: set[str]) -> None:
    snapshot = Snapshot(0.0, bullmq=Ok(state))
    health = assess(snapshot, HealthSettings())
    assert health.open.keys() == names
    (family,) = (each for each in FAMILIES if each.name == "oxherd_issue")
    shown = {labels[0]: value for labels, value in family.read(Assessment(snapshot, health))}
    assert not shown.keys() & names
    for name in ("queue_standing_still", "queue_without_workers", "paused_long", "active_without_lock"):
        there = any(issue.name == name for issue in health.issues)
        assert name in names or shown[name] == there


@pytest.mark.parametrize(
    ("title", "seconds"),
    [
        ("no worker and no job at the first look", {"queue_without_workers": 595.0}),
        ("paused at the first look", {"paused_long": 86_395.0}),
        ("jobs without a lock at the first look", {"active_without_lock": 55.0}),
    ],
)
def test_when_it_is_known_at_the_latest(title: str, seconds: Mapping[str, float]) -> None:
    state, _ = OPEN[title]
    assert assess(Snapshot(0.0, bullmq=Ok(state)), HealthSettings()).open == seconds


@pytest.mark.parametrize(
    ("state", "seconds"),
    [
        (queue(workers=0), 55.0),
        (queue(workers=0, oldest_waiting=60.0), 55.0),
        (queue(workers=1), 595.0),
        (queue(workers=1, oldest_waiting=600.0), 55.0),
        (queue(workers=None), 595.0),
    ],
)
def test_when_it_is_known_that_a_queue_stood_still(state: QueueState, seconds: float) -> None:
    """At that moment the condition is there, and not open, if nothing was started until then."""

    def judged(after: float) -> Health:
        clocks = before(standing=after, **({"without_workers": after} if state.workers == 0 else {}))
        # The job gets older too.
        age = None if state.oldest_waiting is None else state.oldest_waiting + after - 5
        read = state_of(state._replace(oldest_waiting=age), work=clocks)
        return assess(Snapshot(0.0, bullmq=Ok(read)), HealthSettings())

    assert judged(5.0).open == {"queue_standing_still": seconds}
    assert judged(5.0 + seconds - 1).open == {"queue_standing_still": 1.0}
    known = judged(5.0 + seconds)
    assert [issue.name for issue in known.issues] == ["queue_standing_still"]
    assert not known.open


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
    assert finding.affected == (affected("mail", 0.4),)


def test_a_wait_counts_only_where_a_limit_is_set() -> None:
    waits = state_of(queue(oldest_waiting=100.0), queue("sms", oldest_waiting=200.0))
    assert found(waits) == {}
    of_mail = {"queues": [{"match": "ma*", "wait_seconds": 60}]}
    assert only(waits, of_mail).affected == (affected("mail", 100.0),)
    of_all = {"thresholds": {"wait_seconds": 150}, "queues": [{"match": "ma*", "wait_seconds": 60}]}
    assert only(waits, of_all).affected == (affected("sms", 200.0), affected("mail", 100.0))
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
    earlier = found(state_of(state, work=working(standing=standing, without_workers=without)))
    longer = None if without is None else without + more
    later = found(state_of(state, work=working(standing=standing + more, without_workers=longer)))
    assert "queue_standing_still" not in earlier or "queue_standing_still" in later
