from __future__ import annotations

import logging
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Barrier, Event, Thread
from typing import cast

import pytest

from exporter import collect
from exporter.bullmq.discover import Discovery
from exporter.collect import SOURCES, Collector, Parts, make_sources
from exporter.config.settings import ExporterSettings, HostSettings
from exporter.redis.deployment import Deployment
from exporter.snapshot.whole import Snapshot
from exporter.views import SNAPSHOT_PARTS
from lab.deadline import wait_until
from service.clock import Deadline
from service.outcome import Failed, Ok, UnreadableError
from tests.support.assessments import host_state
from tests.support.no_threads import no_threads

SOON = 0.0  # a collection then ends by the grace alone


@pytest.fixture
def release() -> Iterator[Event]:
    """Set at the end of the test at the latest, so that no thread remains."""
    event = Event()
    yield event
    event.set()


def test_every_part_of_a_snapshot_has_its_source() -> None:
    assert tuple(SOURCES) == SNAPSHOT_PARTS


def test_the_host_can_be_switched_off() -> None:
    settings = ExporterSettings(host=HostSettings(enabled=False))
    deployment = Deployment(settings.redis)
    parts = Parts(settings, deployment, Discovery(deployment, settings.bullmq))
    assert list(make_sources(parts)) == ["redis", "bullmq", "process"]


def test_side_by_side() -> None:
    both = Barrier(2)
    collector = Collector({"redis": lambda _: both.wait(10), "host": lambda _: both.wait(10)})
    snapshot = collector.collect(Deadline.after(10))
    assert isinstance(snapshot.redis, Ok)
    assert isinstance(snapshot.host, Ok)
    assert snapshot.bullmq is None
    assert snapshot.taken_at > 0


def test_an_unreadable_source_has_a_reason() -> None:
    def source(_: Deadline) -> None:
        raise UnreadableError("auth", "password refused")

    snapshot = Collector({"redis": source, "host": lambda _: host_state()}).collect(Deadline.after(10))
    assert isinstance(snapshot.redis, Failed)
    assert (snapshot.redis.kind, snapshot.redis.message) == ("auth", "password refused")
    assert isinstance(snapshot.host, Ok)
    assert snapshot.host.value == host_state()


def test_a_bug_affects_only_its_source_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    results = iter([ValueError("hunter2"), ValueError("hunter2"), None, ValueError("hunter2")])

    def source(_: Deadline) -> str:
        result = next(results)
        if result is not None:
            raise result
        return "read"

    collector = Collector({"redis": source, "host": lambda _: "host"})
    with caplog.at_level(logging.ERROR):
        read = [collector.collect(Deadline.after(10)) for _ in range(4)]
    first = read[0].redis
    assert isinstance(first, Failed)
    assert first.kind == "error"
    assert first.message.startswith("ValueError at test_collect.py:")
    assert "hunter2" not in first.message
    assert [isinstance(snapshot.redis, Ok) for snapshot in read] == [False, False, True, False]
    assert all(isinstance(snapshot.host, Ok) for snapshot in read)
    assert [record.getMessage() for record in caplog.records] == ["source failed"] * 2


def test_a_late_source_is_a_timeout_and_the_rest_is_served(release: Event) -> None:
    collector = Collector({"redis": lambda _: release.wait(), "host": lambda _: "host"})
    snapshot = collector.collect(Deadline.after(SOON))
    assert isinstance(snapshot.redis, Failed)
    assert snapshot.redis.kind == "timeout"
    assert isinstance(snapshot.host, Ok)


def test_a_source_that_hangs_gets_no_second_thread(release: Event) -> None:
    begun: SimpleQueue[int] = SimpleQueue()

    def source(_: Deadline) -> str:
        begun.put(1)
        release.wait()
        return "late"

    collector = Collector({"redis": source})
    read = [collector.collect(Deadline.after(SOON)).redis for _ in range(3)]
    assert begun.qsize() == 1
    assert isinstance(read[2], Failed)
    assert "earlier" in read[2].message
    collector._busy["redis"].part.add_done_callback(lambda _: begun.put(2))
    release.set()
    assert begun.get(timeout=10) == 1
    assert begun.get(timeout=10) == 2
    again = collector.collect(Deadline.after(10)).redis
    assert isinstance(again, Ok)


def test_a_source_that_is_late_is_waited_for_and_read_again(release: Event) -> None:
    """A scrape that has time does not report what a hasty one did not wait for."""
    begun: SimpleQueue[int] = SimpleQueue()

    def source(_: Deadline) -> int:
        begun.put(1)
        if begun.qsize() == 1:
            release.wait()
        return begun.qsize()

    collector = Collector({"redis": source})
    assert isinstance(collector.collect(Deadline.after(SOON)).redis, Failed)
    read: SimpleQueue[Snapshot] = SimpleQueue()
    patient = Thread(target=lambda: read.put(collector.collect(Deadline.after(20))))
    patient.start()
    wait_until(lambda: collector._run is not None and collector._run.number == 2, what="the second run")
    assert begun.qsize() == 1
    release.set()
    snapshot = read.get(timeout=20)
    patient.join(10)
    assert isinstance(snapshot.redis, Ok)
    assert cast("object", snapshot.redis.value) == 2  # not the answer of the earlier one, which is old
    assert isinstance(collector.collect(Deadline.after(10)).redis, Ok)


def test_a_source_that_hangs_for_long_delays_no_scrape(
    release: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector({"host": lambda _: release.wait()})
    collector.collect(Deadline.after(SOON))
    monkeypatch.setattr(collect, "_HANGS", 0.0)
    long = Deadline.after(3600)
    snapshot = collector.collect(long)
    assert isinstance(snapshot.host, Failed)
    assert "earlier" in snapshot.host.message


def test_simultaneous_collections_share_one_run(release: Event) -> None:
    begun: SimpleQueue[int] = SimpleQueue()

    def source(_: Deadline) -> str:
        begun.put(1)
        release.wait(10)
        return "shared"

    collector = Collector({"redis": source})
    snapshots: list[Snapshot] = []
    callers = [
        Thread(target=lambda: snapshots.append(collector.collect(Deadline.after(10)))) for _ in range(5)
    ]
    for caller in callers:
        caller.start()
    begun.get(timeout=10)
    impatient = collector.collect(Deadline.after(SOON))
    release.set()
    for caller in callers:
        caller.join(10)
    assert isinstance(impatient.redis, Failed)  # its own deadline counts for it
    assert all(isinstance(snapshot.redis, Ok) for snapshot in snapshots)
    assert len({snapshot.taken_at for snapshot in (*snapshots, impatient)}) == 1
    assert begun.empty()


@pytest.mark.fault
def test_a_hasty_collection_does_not_make_a_patient_one_incomplete(release: Event) -> None:
    """Else whoever asks again and again with a short time-out makes that of Prometheus miss everything."""
    begun: SimpleQueue[float] = SimpleQueue()

    def source(deadline: Deadline) -> str:
        begun.put(deadline.at)
        release.wait(20)
        if deadline.passed():
            raise UnreadableError("timeout", "no answer")
        return "read"

    collector = Collector({"redis": source})
    hasty = Thread(target=lambda: collector.collect(Deadline.after(0.05)))
    hasty.start()
    begun.get(timeout=10)
    read: SimpleQueue[Snapshot] = SimpleQueue()
    patient = Thread(target=lambda: read.put(collector.collect(Deadline.after(20))))
    patient.start()
    hasty.join(10)
    wait_until(lambda: collector._run is not None and collector._run.number == 2, what="a run of its own")
    release.set()
    assert isinstance(read.get(timeout=20).redis, Ok)
    patient.join(10)


def test_the_source_gets_the_deadline() -> None:
    deadline = Deadline.after(10)
    given: list[Deadline] = []
    Collector({"redis": given.append}).collect(deadline)
    assert given == [deadline]


@pytest.mark.fault
def test_a_source_without_room_for_a_thread_is_read_as_soon_as_there_is() -> None:
    collector = Collector({"redis": lambda _: 1, "host": lambda _: host_state()})
    with no_threads():
        for _ in range(3):
            snapshot = collector.collect(Deadline.after(10))
            assert isinstance(snapshot.redis, Failed)
            assert "no room for another thread" in snapshot.redis.message
            assert collector.without_thread == ("redis", "host")
    snapshot = collector.collect(Deadline.after(10))
    assert isinstance(snapshot.redis, Ok)
    assert isinstance(snapshot.host, Ok)
    assert collector.without_thread == ()


def test_a_source_whose_thread_ended_without_a_result_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> str:
        raise MemoryError

    def source(_: Deadline) -> int:
        if fails:
            raise MemoryError
        return 1

    fails, ended = True, Event()
    monkeypatch.setattr("threading.excepthook", lambda _: ended.set())
    collector = Collector({"redis": source})
    with monkeypatch.context() as patch:
        patch.setattr(collect, "_describe", no_memory)
        snapshot = collector.collect(Deadline.after(10))
    assert isinstance(snapshot.redis, Failed)
    assert "ended without a result" in snapshot.redis.message
    assert ended.wait(10)
    fails = False
    assert isinstance(collector.collect(Deadline.after(10)).redis, Ok)
