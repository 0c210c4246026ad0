from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import pytest

from exporter.conditions.finding import Affected, Finding
from exporter.config.health import HealthSettings
from exporter.derived import silent_at
from exporter.health import RULES
from exporter.snapshot.queues import BullMQState, JobCounts, QueueId, QueueState, Unlocked, Work
from exporter.snapshot.schedulers import QueueSchedulers, Scheduler
from exporter.snapshot.whole import Snapshot
from service.catalogs import ENGLISH
from service.outcome import Failed, Ok

NOW = 10_000.0
MAIL = QueueId("bull", "mail")
QUEUE = QueueState(MAIL, JobCounts(0, 0, 0, 0, 0, 0, 0), False, 1, 0, 0, 0, workers=1)
MINUTELY = Scheduler(
    id="report",
    name="report",
    chosen_id=True,
    next_run=NOW + 30,
    last_run=NOW - 30,
    every=60.0,
    pattern=None,
    timezone=None,
    ends_at=None,
    limit=None,
    iterations=2,
    job="pending",
    quiet_since=NOW - 30,
)
NIGHTLY = MINUTELY._replace(id="nightly", every=None, pattern="0 3 * * *", quiet_since=None)
DEFAULTS = HealthSettings()


def found(
    rule: str,
    *schedulers: Scheduler,
    queue: QueueState = QUEUE,
    settings: HealthSettings = DEFAULTS,
    work: Mapping[QueueId, Work] | None = None,
    **state: Any,
) -> Finding | None:
    read = QueueSchedulers(
        tuple(sorted(schedulers, key=lambda each: each.next_run)),
        NOW,
        missing=tuple(each for each in schedulers if each.job == "gone"),
        silent_at=min(map(silent_at, schedulers), default=inf),
    )._replace(**state)
    of_queue = BullMQState((queue,), schedulers={queue.id: read}, work=work or {})
    snapshot = Snapshot(NOW, bullmq=Ok(of_queue))
    return RULES[rule](snapshot, settings)


def late(*schedulers: Scheduler, queue: QueueState = QUEUE, **state: Any) -> dict[str, float]:
    """For how many seconds each is late."""
    finding = found("scheduler_late", *schedulers, queue=queue, **state)
    return {each.subject: each.value for each in finding.affected} if finding else {}


def busy(longest: float | None, *, active: int = 1, waiting: int = 0) -> QueueState:
    return QUEUE._replace(jobs=QUEUE.jobs._replace(active=active, waiting=waiting), longest_active=longest)


def advice(finding: Finding | None) -> str:
    assert finding is not None
    return ENGLISH.render(finding.recommendation)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-30, {}), (0, {}), (60, {}), (61, {"mail: report": 61}), (4000, {"mail: report": 4000})],
)
def test_how_late(seconds: float, expected: dict[str, float]) -> None:
    assert late(MINUTELY._replace(next_run=NOW - seconds)) == expected


@pytest.mark.parametrize("job", ["pending", "active", "unknown"])
def test_late_whatever_its_job_does(job: str) -> None:
    assert late(MINUTELY._replace(next_run=NOW - 61, job=job))  # type: ignore[arg-type]


@pytest.mark.parametrize("job", ["gone", "over"])
def test_without_a_next_job_it_is_not_late(job: str) -> None:
    assert not late(MINUTELY._replace(next_run=NOW - 61, job=job))  # type: ignore[arg-type]


def test_of_a_paused_queue_none_is_late() -> None:
    assert not late(MINUTELY._replace(next_run=NOW - 9000), queue=QUEUE._replace(paused=True))


def test_at_a_global_concurrency_of_0_none_is_late() -> None:
    assert not late(MINUTELY._replace(next_run=NOW - 9000), queue=QUEUE._replace(concurrency_limit=0))


def test_of_a_queue_that_stands_still_none_is_late() -> None:
    """One cause is one condition: without a worker the job of the next run stays where it is."""
    nobody = QUEUE._replace(workers=0, delayed_overdue=1)
    overdue, stands = MINUTELY._replace(next_run=NOW - 100), Work(standing=100, without_workers=100)
    assert not late(overdue, queue=nobody, work={MAIL: stands})
    assert late(overdue, queue=nobody, work={MAIL: Work(standing=59, without_workers=59)})
    assert late(overdue, work={QueueId("bull", "sms"): stands})
    jumped = MINUTELY._replace(next_run=NOW + 3000, quiet_since=NOW - 300)
    assert late(jumped, queue=nobody, work={MAIL: stands})


def test_after_a_pause_there_is_as_long_as_ever() -> None:
    overdue = MINUTELY._replace(next_run=NOW - 9000)
    assert not late(overdue, held_at=NOW - 60)
    assert late(overdue, held_at=NOW - 61) == {"mail: report": 61}


def test_whether_it_is_paused_is_not_known() -> None:
    assert late(MINUTELY._replace(next_run=NOW - 61), queue=QUEUE._replace(paused=None))


@pytest.mark.parametrize(
    ("scheduler", "seconds", "is_late"),
    [
        (MINUTELY._replace(every=600.0), 600, False),
        (MINUTELY._replace(every=600.0), 601, True),
        (MINUTELY._replace(every=10.0), 60, False),
        (MINUTELY._replace(every=10.0), 61, True),
        (NIGHTLY._replace(last_run=NOW - 400), 200, False),
        (NIGHTLY._replace(last_run=NOW - 400), 201, True),
        (NIGHTLY._replace(last_run=None), 9000, False),
    ],
)
def test_at_a_limit_it_may_wait_until_the_next(
    scheduler: Scheduler, seconds: float, *, is_late: bool
) -> None:
    overdue = scheduler._replace(next_run=NOW - seconds)
    assert bool(late(overdue, limited_at=NOW - 10)) is is_late
    assert bool(late(overdue, limited_at=NOW - 61)) is (seconds > 60)


@pytest.mark.parametrize(
    ("quiet", "every", "expected"),
    [
        (100, 60.0, {}),
        (120, 60.0, {}),
        (121, 60.0, {"mail: report": 61}),
        (21, 10.0, {}),  # not before the threshold
        (71, 10.0, {"mail: report": 61}),
        (9000, None, {}),
    ],
)
def test_two_intervals_without_a_run(quiet: float, every: float | None, expected: dict[str, float]) -> None:
    assert late(MINUTELY._replace(quiet_since=NOW - quiet, every=every)) == expected


def test_a_pause_is_no_silence() -> None:
    quiet = MINUTELY._replace(quiet_since=NOW - 9000)
    assert late(quiet)
    assert not late(quiet, held_at=NOW - 100)
    hourly = quiet._replace(every=3600.0)
    assert not late(hourly, held_at=NOW - 7200)
    assert late(hourly, held_at=NOW - 7201) == {"mail: report": 3601}


def test_the_worst_first() -> None:
    both = (MINUTELY._replace(next_run=NOW - 100), NIGHTLY._replace(next_run=NOW - 200))
    assert list(late(*both)) == ["mail: nightly", "mail: report"]
    finding = found("scheduler_late", *both)
    assert finding is not None
    assert ENGLISH.render(finding.measured) == (
        "2 schedulers are late: mail: nightly by 3 min 20 s; mail: report by 1 min 40 s"
    )
    assert ENGLISH.render(finding.threshold) == "1 min after its next run, or two intervals without one"


def test_another_threshold() -> None:
    settings = HealthSettings.model_validate({"thresholds": {"scheduler_late_seconds": 300}})
    overdue = MINUTELY._replace(next_run=NOW - 200)
    assert found("scheduler_late", overdue, settings=settings) is None


def test_a_queue_has_a_threshold_of_its_own_or_none() -> None:
    overdue = MINUTELY._replace(next_run=NOW - 200)
    lost = MINUTELY._replace(job="gone", missing_since=NOW - 31)
    for queues, expected in (
        ([{"match": "mai*", "scheduler_late_seconds": 300, "scheduler_missing_seconds": 60}], False),
        ([{"match": "mai*", "excluded": True}], False),
        ([{"match": "other", "excluded": True}], True),
    ):
        settings = HealthSettings.model_validate({"queues": queues})
        assert (found("scheduler_late", overdue, settings=settings) is not None) is expected
        assert (found("scheduler_without_next", lost, settings=settings) is not None) is expected
    excluded = HealthSettings.model_validate({"queues": [{"match": "mail", "excluded": True}]})
    twins = (("nightly", "twin"),)
    both = (NIGHTLY, NIGHTLY._replace(id="twin"))
    assert found("scheduler_duplicate", *both, duplicates=twins)
    assert found("scheduler_duplicate", *both, settings=excluded, duplicates=twins) is None


@pytest.mark.parametrize(
    ("queue", "sentence"),
    [
        (QUEUE._replace(workers=0), "No worker runs for the queue mail: start one."),
        (
            QUEUE._replace(jobs=QUEUE.jobs._replace(waiting=2, prioritized=3)),
            "5 jobs wait in the queue mail: start more",
        ),
        (QUEUE, "No worker of the queue mail takes the job that is due. Restart the workers"),
        (
            busy(61.0),
            "A job of mail is active for 1 min 1 s, and mail: report should run every 1 min: if that is its",
        ),
        (busy(61.0, waiting=1), "is active for 1 min 1 s, and mail: report should run every 1 min"),  # Bull
        (busy(61.0, waiting=2), "2 jobs wait in the queue mail: start more workers"),
        (busy(60.0), "The workers of mail are busy: 1 job is active, for 1 min."),
        (busy(60.0, active=3), "The workers of mail are busy: 3 jobs are active, the longest for 1 min."),
        (busy(None), "No worker of the queue mail takes the job that is due."),
        (busy(0.0, active=0), "No worker of the queue mail takes the job that is due."),
        (QUEUE._replace(workers=None), "No worker of the queue mail takes the job that is due. Restart the"),
    ],
)
def test_what_to_do_about_a_late_one(queue: QueueState, sentence: str) -> None:
    assert sentence in advice(found("scheduler_late", MINUTELY._replace(next_run=NOW - 61), queue=queue))


def test_workers_with_free_slots_and_jobs_that_no_worker_has_are_not_busy() -> None:
    overdue = MINUTELY._replace(next_run=NOW - 61)
    passed_over = found("scheduler_late", overdue, queue=busy(90.0), work={MAIL: Work(overdue=61.0)})
    lost = BullMQState(
        (busy(90.0),),
        schedulers={MAIL: QueueSchedulers((overdue,), NOW)},
        unlocked={MAIL: Unlocked(1, 61.0)},
    )
    hung = RULES["scheduler_late"](Snapshot(NOW, bullmq=Ok(lost)), DEFAULTS)
    for finding in (passed_over, hung):
        assert "No worker of the queue mail takes the job that is due." in advice(finding)


def test_the_command_for_a_late_one_is_quoted_for_a_shell() -> None:
    odd = QUEUE._replace(id=QueueId("zz", "it's late"))
    text = advice(found("scheduler_late", MINUTELY._replace(next_run=NOW - 61), queue=odd))
    assert """-c zrange 'zz:it'"'"'s late:delayed' 0 0 withscores""" in text


def test_the_advice_for_a_late_one_names_its_queue_with_the_prefix_where_there_are_several() -> None:
    ids = (QueueId("bull", "mail"), QueueId("app", "mail"))
    queues = tuple(QUEUE._replace(id=each, workers=0) for each in ids)
    late = MINUTELY._replace(next_run=NOW - 61)
    state = BullMQState(queues, schedulers={ids[1]: QueueSchedulers((late,), NOW)})
    finding = RULES["scheduler_late"](Snapshot(NOW, bullmq=Ok(state)), DEFAULTS)
    assert "No worker runs for the queue app:mail" in advice(finding)


def test_what_to_do_about_a_silent_one() -> None:
    text = advice(found("scheduler_late", MINUTELY._replace(quiet_since=NOW - 200)))
    assert (
        'queue.removeJobScheduler("report"), then queue.upsertJobScheduler("report", {every: 60000}' in text
    )


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (MINUTELY, {}),
        (MINUTELY._replace(job="gone", missing_since=NOW - 30), {}),
        (MINUTELY._replace(job="gone", missing_since=NOW - 31), {"mail: report": 31}),
        (MINUTELY._replace(job="over"), {}),
        (MINUTELY._replace(job="unknown"), {}),
    ],
)
def test_a_missing_job(scheduler: Scheduler, expected: dict[str, float]) -> None:
    finding = found("scheduler_without_next", scheduler)
    assert {each.subject: each.value for each in (finding.affected if finding else ())} == expected


def test_a_missing_job_is_missing_in_a_paused_queue_too() -> None:
    lost = MINUTELY._replace(job="gone", missing_since=NOW - 31)
    assert found("scheduler_without_next", lost, queue=QUEUE._replace(paused=True))


def test_what_to_do_about_a_missing_job() -> None:
    lost = NIGHTLY._replace(job="gone", missing_since=NOW - 31)
    assert (
        'queue.removeJobScheduler("nightly"), then queue.upsertJobScheduler("nightly", '
        '{pattern: "0 3 * * *"}, {name: "report", ...})' in advice(found("scheduler_without_next", lost))
    )
    repeatable = lost._replace(id="report:::: 0 3 * * *", chosen_id=False)
    assert (
        'queue.removeRepeatableByKey("report:::: 0 3 * * *"), then '
        'queue.add("report", data, {repeat: {pattern: "0 3 * * *"}})'
        in advice(found("scheduler_without_next", repeatable))
    )


def test_code_that_a_name_could_break_is_quoted() -> None:
    lost = NIGHTLY._replace(id='a"); drop("', job="gone", missing_since=NOW - 31)
    assert r'queue.removeJobScheduler("a\"); drop(\"")' in advice(found("scheduler_without_next", lost))


def test_duplicates() -> None:
    finding = found(
        "scheduler_duplicate",
        MINUTELY,
        NIGHTLY,
        NIGHTLY._replace(id="nightly2", timezone="Asia/Jakarta"),
        duplicates=(("nightly", "nightly2"), ("report", "is-gone")),
    )
    assert finding is not None
    assert finding.affected == (Affected("mail: nightly", 2.0, MAIL),)
    assert ENGLISH.render(finding.measured) == (
        "mail: the job report by nightly (0 3 * * *); nightly2 (0 3 * * * Asia/Jakarta)"
    )


@pytest.mark.parametrize("rule", ["scheduler_late", "scheduler_without_next", "scheduler_duplicate"])
def test_what_is_not_read_has_no_condition(rule: str) -> None:
    for bullmq in (None, Failed("timeout", "late"), Ok(BullMQState((QUEUE,)))):
        assert RULES[rule](Snapshot(NOW, bullmq=bullmq), DEFAULTS) is None
    unlisted = BullMQState((), schedulers={MAIL: QueueSchedulers((MINUTELY._replace(next_run=1.0),), NOW)})
    assert RULES[rule](Snapshot(NOW, bullmq=Ok(unlisted)), DEFAULTS) is None


def test_a_queue_has_its_prefix_where_there_are_several() -> None:
    other = QUEUE._replace(id=QueueId("eu", "mail"))
    read = QueueSchedulers((MINUTELY._replace(next_run=NOW - 61),), NOW)
    state = BullMQState((QUEUE, other), schedulers={other.id: read})
    finding = RULES["scheduler_late"](Snapshot(NOW, bullmq=Ok(state)), DEFAULTS)
    assert finding is not None
    assert finding.affected[0].subject == "eu:mail: report"
