from __future__ import annotations

from typing import Any

from exporter.assessment import Assessment
from exporter.bullmq.streams.events import Jobs
from exporter.health import Health
from exporter.metrics import events
from exporter.metrics.render import Renderer
from exporter.snapshot.queues import BullMQState, Events, EventTotals, QueueId
from exporter.snapshot.whole import Snapshot
from service.outcome import Failed, Ok, Outcome
from tests.support.metric_families import decoded, native_buckets

MAIL = QueueId("bull", "mail")


def lines(bullmq: Outcome[BullMQState] | None) -> list[str]:
    assessment = Assessment(Snapshot(0.0, bullmq=bullmq), Health(100.0, "healthy", ()))
    text = Renderer(events.FAMILIES).text(assessment).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def followed(*, native: bool = False) -> Events:
    jobs = Jobs((0.1, 1.0), native=native)
    jobs.feed(
        [
            [b"1000-0", [b"event", b"added", b"jobId", b"1", b"name", b"x"]],
            [b"1000-1", [b"event", b"waiting", b"jobId", b"1"]],
            [b"1500-0", [b"event", b"active", b"jobId", b"1", b"prev", b"waiting"]],
            [b"1550-0", [b"event", b"failed", b"jobId", b"1", b"failedReason", b"no"]],
        ]
    )
    return Events(jobs.counters(), 4, 2, 0.5, since=1.7e9, busy_seconds=0.05)


def test_every_number_has_its_series() -> None:
    late = followed()._replace(lag=7.5)
    known = {MAIL: followed(), QueueId("bull", "late"): late}
    exposition = lines(Ok(BullMQState((), events=known, event_totals=EventTotals(4, 3, 0))))
    queue = 'prefix="bull",queue="mail"'
    assert f"bullmq_job_added_total{{{queue}}} 1.0" in exposition
    assert f"bullmq_job_failed_total{{{queue}}} 1.0" in exposition
    assert f"bullmq_job_completed_total{{{queue}}} 0.0" in exposition
    assert f'bullmq_job_wait_seconds_bucket{{le="0.1",{queue}}} 0.0' in exposition
    assert f'bullmq_job_wait_seconds_bucket{{le="1.0",{queue}}} 1.0' in exposition
    assert f"bullmq_job_wait_seconds_sum{{{queue}}} 0.5" in exposition
    assert f'bullmq_job_processing_seconds_bucket{{le="0.1",outcome="failed",{queue}}} 1.0' in exposition
    assert not any('outcome="retried"' in line for line in exposition)  # there was none yet
    assert f"bullmq_queue_busy_seconds_total{{{queue}}} 0.05" in exposition
    assert "bullmq_events_read_total 4.0" in exposition
    assert "bullmq_events_undone_total 3.0" in exposition
    assert f"bullmq_events_lost_total{{{queue}}} 2.0" in exposition
    assert "bullmq_events_evicted_total 0.0" in exposition
    assert "bullmq_events_lag_seconds 7.5" in exposition
    assert sum(queue in line for line in exposition if "_events_" in line) == 1


def test_streams_that_are_not_followed_have_no_series() -> None:
    for bullmq in (None, Failed("timeout", "late"), Ok(BullMQState(())), Ok(BullMQState((), events={}))):
        assert lines(bullmq) == []


def test_what_nothing_tells_is_absent() -> None:
    events = followed()
    counters = events.counters._replace(added=None, removed=None, processing={})
    other = QueueId("bull", "other")
    exposition = lines(Ok(BullMQState((), events={MAIL: events._replace(counters=counters), other: events})))
    assert not any(line.startswith("bullmq_job_added_total") and "mail" in line for line in exposition)
    assert 'bullmq_job_added_total{prefix="bull",queue="other"} 1.0' in exposition
    assert 'bullmq_job_started_total{prefix="bull",queue="mail"} 1.0' in exposition
    alone = lines(Ok(BullMQState((), events={MAIL: events._replace(counters=counters)})))
    assert not any(line.startswith("bullmq_job_removed_total") for line in alone)


def test_busy_time_grows_without_an_event() -> None:
    renderer, read = Renderer(events.FAMILIES), followed()
    for seconds in (0.05, 1.05):
        state = BullMQState((), events={MAIL: read._replace(busy_seconds=seconds)})
        assessment = Assessment(Snapshot(0.0, bullmq=Ok(state)), Health(100.0, "healthy", ()))
        line = f'bullmq_queue_busy_seconds_total{{prefix="bull",queue="mail"}} {seconds}'
        assert line in renderer.text(assessment).decode()


def test_a_family_without_a_sample_has_no_head() -> None:
    counters = followed().counters._replace(removed=None)
    state = BullMQState((), events={MAIL: followed()._replace(counters=counters)})
    assessment = Assessment(Snapshot(0.0, bullmq=Ok(state)), Health(100.0, "healthy", ()))
    assert "bullmq_job_removed_total" not in Renderer(events.FAMILIES).text(assessment).decode()


def protobuf(events_of_queue: Events, *, classic: bool = False) -> dict[str, list[Any]]:
    """The metrics of each family."""
    state = BullMQState((), events={MAIL: events_of_queue})
    assessment = Assessment(Snapshot(0.0, bullmq=Ok(state)), Health(100.0, "healthy", ()))
    body = Renderer(events.FAMILIES, classic=classic).body(assessment, "protobuf")
    return {family.name: list(family.metric) for family in decoded(body.plain())}


def test_protobuf_has_native_histograms_where_they_are_counted() -> None:
    (wait,) = protobuf(followed(native=True))["bullmq_job_wait_seconds"]
    histogram = wait.histogram
    assert (histogram.sample_count, histogram.sample_sum, histogram.zero_count) == (1, 0.5, 0)
    assert (histogram.schema, histogram.zero_threshold) == (3, 2**-10)
    assert native_buckets(histogram) == {-8: 1}  # up to 2^-1 s
    assert not histogram.bucket
    assert histogram.created_timestamp.seconds == 1_700_000_000
    assert {pair.name: pair.value for pair in wait.label} == {"prefix": "bull", "queue": "mail"}
    (run,) = protobuf(followed(native=True))["bullmq_job_processing_seconds"]
    assert {pair.name: pair.value for pair in run.label} == {
        "prefix": "bull",
        "queue": "mail",
        "outcome": "failed",
    }
    assert sum(native_buckets(run.histogram).values()) == run.histogram.sample_count == 1


def test_both_forms_are_in_one_histogram() -> None:
    (wait,) = protobuf(followed(native=True), classic=True)["bullmq_job_wait_seconds"]
    assert native_buckets(wait.histogram) == {-8: 1}
    assert [(each.upper_bound, each.cumulative_count) for each in wait.histogram.bucket] == [(0.1, 0), (1, 1)]


def test_without_native_ones_protobuf_has_classic_buckets() -> None:
    (wait,) = protobuf(followed())["bullmq_job_wait_seconds"]
    assert not wait.histogram.HasField("zero_threshold")
    assert [(each.upper_bound, each.cumulative_count) for each in wait.histogram.bucket] == [(0.1, 0), (1, 1)]


def test_text_is_the_same_whatever_protobuf_has() -> None:
    state, native = (
        lines(Ok(BullMQState((), events={MAIL: followed(native=native)}))) for native in (False, True)
    )
    assert state == native


def test_protobuf_says_since_when_a_counter_counts() -> None:
    (added,) = protobuf(followed())["bullmq_job_added_total"]
    assert (added.counter.value, added.counter.created_timestamp.seconds) == (1, 1_700_000_000)
    (added,) = protobuf(followed()._replace(since=0.0))["bullmq_job_added_total"]
    assert not added.counter.HasField("created_timestamp")
