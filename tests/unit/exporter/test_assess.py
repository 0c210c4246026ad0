from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from exporter.assess import Assessor, sentence
from exporter.collect import Collector
from exporter.config.settings import ExporterSettings
from exporter.history import History
from exporter.snapshot.host import HostState
from exporter.snapshot.queues import BullMQState
from exporter.snapshot.whole import Snapshot
from service.clock import Deadline
from service.outcome import Failed, UnreadableError
from tests.support.assessments import assessment, healthy_assessment, host_state, queue


def test_issues_that_appear_or_clear_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    fails = iter([True, True, False])

    def queues(_: Deadline) -> BullMQState:
        if next(fails):
            raise UnreadableError("unreachable", "connection refused")
        return BullMQState((queue(oldest_waiting=None),))

    assessor = Assessor(Collector({"bullmq": queues}), ExporterSettings())
    assert not assessor.begun
    with caplog.at_level(logging.INFO):
        assert assessor.assess(Deadline.after(1)).health.issues
        assert assessor.begun
        assert [record.getMessage() for record in caplog.records] == ["issue appeared"]
        assert caplog.records[0].__dict__["source"] == "bullmq"
        assert caplog.records[0].levelno == logging.WARNING
        assert assessor.step() == 300
        assert [record.getMessage() for record in caplog.records[1:]] == ["assessed"]
        assert "bullmq not read: connection refused" in caplog.records[1].__dict__["summary"]
        assert not assessor.assess(Deadline.after(1)).health.issues
        assert [record.getMessage() for record in caplog.records[2:]] == ["issue cleared"]


def test_a_clock_that_is_set_back_silences_no_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails, times = iter([False, True, False]), iter([1000.0, 900.0, 800.0])
    monkeypatch.setattr("exporter.collect.now", lambda: next(times))

    def queues(_: Deadline) -> BullMQState:
        if next(fails):
            raise UnreadableError("unreachable", "connection refused")
        return BullMQState((queue(oldest_waiting=None),))

    history = History()
    assessor = Assessor(Collector({"bullmq": queues}), ExporterSettings(), history=history)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assessor.assess(Deadline.after(1))
    assert [record.getMessage() for record in caplog.records] == ["issue appeared", "issue cleared"]
    assert [point.at for point in history.points(800.0)] == [800.0]


def test_a_collection_is_logged_once_and_none_after_a_later_one(caplog: pytest.LogCaptureFixture) -> None:
    failed = Failed("unreachable", "connection refused")
    snapshots = [
        Snapshot(1.0, bullmq=failed, number=2),
        Snapshot(1.0, bullmq=failed, number=2),
        Snapshot(0.5, number=1),
    ]

    class Collections(Collector):
        def collect(self, deadline: Deadline) -> Snapshot:
            del deadline
            return snapshots.pop(0)

    assessor = Assessor(Collections({}), ExporterSettings())
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assessor.assess(Deadline.after(1))
    assert [record.getMessage() for record in caplog.records] == ["issue appeared"]


def test_an_issue_of_an_unread_source_has_not_cleared(
    caplog: pytest.LogCaptureFixture,
) -> None:
    readings = [host_state(), None, host_state(), replace(host_state(), memory_available=2 << 30)]
    states = iter(
        [replace(state, memory_available=1) if state else None for state in readings[:3]] + readings[3:]
    )

    def host(_: Deadline) -> HostState:
        state = next(states)
        if state is None:
            raise UnreadableError("error", "no /proc")
        return state

    assessor = Assessor(Collector({"host": host}), ExporterSettings())
    with caplog.at_level(logging.INFO):
        for _ in range(4):
            assessor.assess(Deadline.after(1))
    logged = [(record.getMessage(), record.__dict__["issue"]) for record in caplog.records]
    assert logged == [
        ("issue appeared", "host_memory_low"),
        ("issue appeared", "source_unreadable"),
        ("issue cleared", "source_unreadable"),
        ("issue cleared", "host_memory_low"),
    ]


def test_the_sentence() -> None:
    text = sentence(assessment())
    assert text.startswith("health 80 of 100 (warning), 1 of 2 Redis nodes up, ")
    assert "2 queues (1 more not read) with 2408 waiting, 4 active, 14 failed" in text
    assert "process not read: late" in text
    assert text.endswith("Issues: title of cluster_node_unhealthy (1 of 2 nodes).")
    assert sentence(healthy_assessment()) == "health 100 of 100 (healthy). No issues."
