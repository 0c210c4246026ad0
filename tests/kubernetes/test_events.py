"""Events of a workload: what `kubectl describe` shows of the scaler's work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.deadline import wait_until
from scaler.kube.api import KubeApi
from scaler.kube.events import EventWriter
from scaler.kube.objects import Ref
from scaler.transitions import Transition
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import ACCOUNT
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.rules import RULES, without


@pytest.fixture
def writer(api: KubeApi) -> Iterator[EventWriter]:
    event_writer = EventWriter(api, "pod-1")
    event_writer.start()
    yield event_writer
    event_writer.stop()


def put(admin: Admin, writer: EventWriter, *transitions: Transition) -> None:
    uid = admin.get("mail")["metadata"]["uid"]
    for transition in transitions:
        writer.put(Ref("Deployment", admin.namespace, "mail"), uid, transition)


def test_a_change_is_an_event_of_the_workload(admin: Admin, writer: EventWriter) -> None:
    workload = admin.workload("mail", 2)
    put(admin, writer, Transition("mail", "ScaledUp", "from 2 to 5: a burst"))
    event = wait_until(admin.events, what="an event")[0]
    assert event["involvedObject"]["uid"] == workload["metadata"]["uid"]
    assert (event["reason"], event["type"], event["count"]) == ("ScaledUp", "Normal", 1)
    assert event["source"]["component"] == "oxherd-scaler"


def test_a_repeated_event_increments_the_count(admin: Admin, writer: EventWriter) -> None:
    admin.workload("mail", 2)
    same = Transition("mail", "MetricsStale", "no answer", trouble=True)
    put(admin, writer, same, same, same)
    wait_until(lambda: admin.events() and admin.events()[0]["count"] == 3, what="three are counted")
    assert len(admin.events()) == 1
    assert admin.events()[0]["type"] == "Warning"


def test_events_of_a_workload_have_a_rate_limit(admin: Admin, front: Front, writer: EventWriter) -> None:
    admin.workload("mail", 2)
    put(admin, writer, *(Transition("mail", "ScaledUp", f"from 2 to {number}") for number in range(200)))
    wait_until(writer._queue.empty, what="all are done")
    assert len(front.requested("POST .*/events")) == 25


def test_without_permission_the_failure_is_logged_once(
    admin: Admin, writer: EventWriter, caplog: pytest.LogCaptureFixture
) -> None:
    admin.workload("mail", 2)
    admin.rules(ACCOUNT, without(RULES, "events"))
    same = Transition("mail", "ScaledUp", "from 2 to 5")
    put(admin, writer, same, same, same)
    wait_until(lambda: "cannot write events" in caplog.text, what="it is logged")
    wait_until(writer._queue.empty, what="all are done")
    assert caplog.text.count("cannot write events") == 1
