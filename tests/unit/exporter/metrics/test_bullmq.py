from __future__ import annotations

import pytest

from exporter.assessment import Assessment
from exporter.health import Health
from exporter.metrics.bullmq import FAMILIES, scheduler_label
from exporter.snapshot.queues import (
    BullMQState,
    JobCounts,
    LeftOut,
    LeftOutReason,
    OwnCounts,
    QueueId,
    QueueState,
    Rates,
    Search,
)
from exporter.snapshot.schedulers import QueueSchedulers, Scheduler
from exporter.snapshot.whole import Snapshot
from service.outcome import Failed, Ok, Outcome

MAIL = QueueId("bull", "mail")
HOURLY = Scheduler("hourly", "report", True, 90.0, 30.0, 60.0, None, None, None, None, 2, "pending")
EMPTY = QueueState(MAIL, JobCounts(0, 0, 0, 0, 0, 0, 0), False, 0, 0, 0, 0)
ALWAYS = {
    "bullmq_queue_info",
    "bullmq_queue_paused",
    "bullmq_queue_delayed_overdue",
    "bullmq_queue_delayed_due",
    "bullmq_queue_failed_last_hour",
    "bullmq_queue_schedulers",
}


def series(bullmq: Outcome[BullMQState] | BullMQState | None) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample, by its family's name and the values of its labels; families without one are left out."""
    outcome = Ok(bullmq) if isinstance(bullmq, BullMQState) else bullmq
    assessment = Assessment(Snapshot(0, bullmq=outcome), Health(100, "healthy", ()))
    values = {}
    for family in FAMILIES:
        samples = list(family.read(assessment))
        assert all(len(labels) == len(family.labels) for labels, _ in samples)
        if samples:
            values[family.name] = dict(samples)
            assert len(values[family.name]) == len(samples)
    return values


def test_switched_off_there_is_nothing() -> None:
    assert series(None) == {}


def test_unreadable_is_down_and_nothing_else() -> None:
    assert series(Failed("unreachable", "connection refused")) == {"bullmq_up": {(): 0}}


def test_before_the_first_search_has_ended_how_many_queues_there_are_is_unknown() -> None:
    assert not {"bullmq_queues", "bullmq_queues_left_out"} & set(series(BullMQState((), discovered=False)))
    assert series(BullMQState(())) == {
        "bullmq_up": {(): 1},
        "bullmq_queues": {(): 0},
        "bullmq_queues_left_out": {("max_queues",): 0, ("name_length",): 0},
    }


def test_queues_that_are_left_out_are_counted_by_the_reason() -> None:
    left_out: dict[LeftOutReason, LeftOut] = {"max_queues": LeftOut(38_000, first=(MAIL,))}
    values = series(BullMQState((), search=Search(left_out=left_out)))
    assert values["bullmq_queues_left_out"] == {("max_queues",): 38_000, ("name_length",): 0}


def test_a_queue_that_could_not_be_read_has_no_series() -> None:
    values = series(BullMQState((EMPTY,), {QueueId("bull", "lost"): Failed("refused", "WRONGTYPE")}))
    assert (values["bullmq_up"], values["bullmq_queues"]) == ({(): 0}, {(): 2})
    assert {labels[:2] for family in values.values() for labels in family if len(labels) > 1} == {MAIL}


def test_failures_of_the_last_hour_are_those_of_the_set_or_of_the_stream() -> None:
    rates = Rates(300.0, 0.0, 0.0, None, 7, 0)
    refused = EMPTY._replace(id=QueueId("bull", "refused"), failed_last_hour=None)
    queues = BullMQState((EMPTY._replace(failed_last_hour=3), refused), rates={MAIL: rates})
    assert series(queues)["bullmq_queue_failed_last_hour"] == {MAIL: 7}


def test_what_is_not_known_is_absent() -> None:
    values = series(BullMQState((EMPTY,)))
    assert {name for name in values if name.startswith("bullmq_queue_")} == ALWAYS
    assert set(values["bullmq_job_count"].values()) == {0}


def test_a_scheduler_that_is_late() -> None:
    values = series(BullMQState((EMPTY,), schedulers={MAIL: QueueSchedulers((), 100.0, published=(HOURLY,))}))
    labels = (*MAIL, "hourly")
    assert values["bullmq_scheduler_next_run_timestamp_seconds"] == {labels: 90}
    assert values["bullmq_scheduler_last_run_timestamp_seconds"] == {labels: 30}
    assert values["bullmq_scheduler_lateness_seconds"] == {labels: 10}


def test_of_a_scheduler_that_is_over_only_the_last_run_is_known() -> None:
    over = HOURLY._replace(job="over")
    values = series(BullMQState((EMPTY,), schedulers={MAIL: QueueSchedulers((), 100.0, published=(over,))}))
    assert {name for name in values if name.startswith("bullmq_scheduler_")} == {
        "bullmq_scheduler_last_run_timestamp_seconds"
    }


def test_schedulers_that_are_not_published_have_no_series() -> None:
    values = series(BullMQState((EMPTY,), schedulers={MAIL: QueueSchedulers((HOURLY,), 100.0)}))
    assert not {name for name in values if name.startswith("bullmq_scheduler_")}


def test_the_label_of_a_scheduler_has_a_bound_and_stays_its_own() -> None:
    ids = ["x" * 120, *("y" * 200 + end for end in "ab")]
    labels = [scheduler_label(each) for each in ids]
    assert labels[0] == ids[0]
    assert len(set(labels)) == 3
    assert max(map(len, labels)) <= 131


def test_what_made_a_queue() -> None:
    of_bull = EMPTY._replace(id=QueueId("bull", "jobs"), library="bull")
    values = series(BullMQState((EMPTY._replace(version="6.7.0"), of_bull)))
    assert values["bullmq_queue_info"] == {
        ("bull", "mail", "bullmq", "6.7.0"): 1,
        ("bull", "jobs", "bull", ""): 1,
    }


def test_everything_that_is_known() -> None:
    queue = QueueState(
        MAIL,
        JobCounts(waiting=1, active=2, delayed=3, prioritized=4, waiting_children=5, completed=6, failed=7),
        paused=True,
        schedulers=8,
        delayed_overdue=9,
        delayed_due=14,
        failed_last_hour=10,
        workers=3,
        concurrency_limit=11,
        rate_limit_ttl=1.5,
        oldest_waiting=12.25,
        longest_active=13.5,
        worker_concurrency=2,
    )
    schedulers = QueueSchedulers((), 100.0, published=(HOURLY,))
    state = BullMQState((queue,), own={MAIL: OwnCounts(20, 22, 21)}, schedulers={MAIL: schedulers})
    values = series(state)
    own = ("metrics_completed", "metrics_failed", "ids")
    assert [values[f"bullmq_{name}_total"] for name in own] == [{MAIL: 20}, {MAIL: 22}, {MAIL: 21}]
    assert set(values) == {family.name for family in FAMILIES}
    states = ["waiting", "active", "delayed", "prioritized", "waiting-children", "completed", "failed"]
    assert values["bullmq_job_count"] == {
        (*MAIL, state): count for count, state in enumerate(states, start=1)
    }
    assert {name: values[f"bullmq_queue_{name}"][MAIL] for name in ("paused", "workers", "schedulers")} == {
        "paused": 1,
        "workers": 3,
        "schedulers": 8,
    }
    assert values["bullmq_queue_concurrency_limit"] == {MAIL: 11}
    assert values["bullmq_queue_rate_limit_ttl_seconds"] == {MAIL: 1.5}
    assert values["bullmq_queue_oldest_waiting_seconds"] == {MAIL: 12.25}
    assert values["bullmq_queue_longest_active_seconds"] == {MAIL: 13.5}
    assert values["bullmq_queue_delayed_overdue"] == {MAIL: 9}
    assert values["bullmq_queue_delayed_due"] == {MAIL: 14}
    assert values["bullmq_queue_load_factor"] == {MAIL: pytest.approx((1 + 4 + 2) / 3 / 10)}
    assert values["bullmq_queue_worker_utilization"] == {MAIL: pytest.approx(1 / 3)}


def test_help_says_the_unit() -> None:
    timed = [family for family in FAMILIES if family.name.endswith("_seconds")]
    assert len(timed) == 6
    for family in timed:
        assert family.help.startswith("Unix seconds" if "timestamp" in family.name else "Seconds")
