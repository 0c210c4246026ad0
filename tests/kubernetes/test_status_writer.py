"""The status of ScaledQueues as it is written: the newest, seldom, again after a failure, by the leader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.crd.schema import definition
from lab.deadline import wait_until
from scaler.config.scaled_queue import API_VERSION
from scaler.kube.objects import Ref
from scaler.kube.scaled_queues import writer as module
from scaler.kube.scaled_queues.writer import StatusWriter
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import ACCOUNT, KubeApiOf
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.rules import RULES, scaled_queue_rules
from tests.support.kubernetes.scaled_queues import ScaledQueueAdmin
from tests.support.kubernetes.targets import Leadership

pytestmark = pytest.mark.timeout(90)

PATCHES = "PATCH .*/scaledqueues/.*/status"


@pytest.fixture
def queues(admin: Admin, token: str) -> ScaledQueueAdmin:
    admin.define(definition())
    admin.rules(ACCOUNT, [*RULES, *scaled_queue_rules()])
    return ScaledQueueAdmin(admin)


@pytest.fixture
def leadership() -> Leadership:
    return Leadership()


@pytest.fixture
def writer_of(
    queues: ScaledQueueAdmin, api_of: KubeApiOf, leadership: Leadership
) -> Iterator[Callable[..., StatusWriter]]:
    with ExitStack() as undo:

        def start(requests_per_second: float = 1000.0) -> StatusWriter:
            made = StatusWriter(api_of(), leadership, requests_per_second)
            made.task.start()
            undo.callback(made.task.stop)
            return made

        yield start


@pytest.fixture
def put(queues: ScaledQueueAdmin) -> Callable[..., str]:
    """Puts a status of an object, which is made if it is not there; its uid."""

    def to(writer: StatusWriter, name: str, current: int | None) -> str:
        made = queues.apply(name)
        uid: str = made["metadata"]["uid"]
        writer.put(
            Ref("ScaledQueue", made["metadata"]["namespace"], name, API_VERSION), uid, {"current": current}
        )
        return uid

    return to


def eventually(holds: Callable[[], object], what: str) -> None:
    wait_until(lambda: bool(holds()), what=what, seconds=60)


def test_the_newest_is_written_and_no_other_field(
    queues: ScaledQueueAdmin, front: Front, writer_of: Callable[..., StatusWriter], put: Callable[..., str]
) -> None:
    writer = writer_of()
    uid = put(writer, "a", 1)
    eventually(lambda: queues.status("a") == {"current": 1}, "the first")
    put(writer, "a", 2)
    put(writer, "a", 3)
    assert writer.latest(uid) == {"current": 3}
    eventually(lambda: queues.status("a") == {"current": 3}, "the newest")
    bodies = [request.body for request in front.requested(PATCHES)]
    assert bodies == [b'{"status": {"current": 1}}', b'{"status": {"current": 3}}']
    first, second = front.requested(PATCHES)
    assert second.at - first.at >= module.EACH_SECONDS
    assert queues.get("a")["metadata"]["generation"] == 1


def test_what_is_not_known_any_more_is_removed(
    queues: ScaledQueueAdmin,
    writer_of: Callable[..., StatusWriter],
    put: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "EACH_SECONDS", 0.0)
    writer = writer_of()
    put(writer, "a", 1)
    eventually(lambda: queues.status("a") == {"current": 1}, "a number")
    put(writer, "a", None)
    eventually(lambda: queues.status("a") == {}, "none")


@pytest.mark.parametrize("status", [409, 500, 503])
def test_a_write_that_fails_is_repeated(
    queues: ScaledQueueAdmin,
    front: Front,
    writer_of: Callable[..., StatusWriter],
    put: Callable[..., str],
    status: int,
) -> None:
    with front.fault(PATCHES, "status", status=status, times=2):
        put(writer_of(), "a", 1)
        eventually(lambda: queues.status("a") == {"current": 1}, "the status")
    times = [request.at for request in front.requested(PATCHES)]
    assert len(times) == 3
    assert times[2] - times[1] >= 1.9, "the pause grows"


def test_one_that_fails_does_not_hold_up_the_others(
    queues: ScaledQueueAdmin, front: Front, writer_of: Callable[..., StatusWriter], put: Callable[..., str]
) -> None:
    writer = writer_of()
    with front.fault("PATCH .*/scaledqueues/a/status", "status", status=500):
        put(writer, "a", 1)
        put(writer, "b", 1)
        eventually(lambda: queues.status("b") == {"current": 1}, "the other")


@pytest.mark.parametrize("status", [404, 422])
def test_a_write_that_can_never_succeed_is_dropped(
    queues: ScaledQueueAdmin,
    front: Front,
    writer_of: Callable[..., StatusWriter],
    put: Callable[..., str],
    status: int,
) -> None:
    writer = writer_of()
    with front.fault("PATCH .*/scaledqueues/a/status", "status", status=status):
        put(writer, "a", 1)
        put(writer, "b", 1)
        eventually(lambda: queues.status("b") == {"current": 1}, "the other")
    assert len(front.requested("PATCH .*/scaledqueues/a/status")) == 1


def test_without_the_right_nothing_is_asked_for_a_minute(
    front: Front,
    writer_of: Callable[..., StatusWriter],
    put: Callable[..., str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer = writer_of()
    with front.fault(PATCHES, "status", status=403):
        for name in ("a", "b", "c"):
            put(writer, name, 1)
        eventually(lambda: "cannot write scaled queue status" in caplog.messages, "a line")
        eventually(lambda: writer.task.age() < 0.5, "a step after it")
        assert len(front.requested(PATCHES)) == 1


def test_who_does_not_lead_writes_nothing(
    queues: ScaledQueueAdmin,
    front: Front,
    leadership: Leadership,
    writer_of: Callable[..., StatusWriter],
    put: Callable[..., str],
) -> None:
    leadership.leading = False
    writer = writer_of()
    uid = put(writer, "a", 1)
    eventually(lambda: writer.latest(uid) is None, "it is forgotten")
    assert not front.requested(PATCHES)


def test_all_together_have_a_rate(
    front: Front, writer_of: Callable[..., StatusWriter], put: Callable[..., str]
) -> None:
    writer = writer_of(5.0)  # a fifth of it: one a second, four at once
    for number in range(6):
        put(writer, f"q{number}", 1)
    eventually(lambda: len(front.requested(PATCHES)) == 6, "all")
    times = [request.at for request in front.requested(PATCHES)]
    assert times[5] - times[0] >= 1.5


def test_each_has_its_turn_where_all_change_faster_than_the_rate(
    front: Front,
    writer_of: Callable[..., StatusWriter],
    put: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "EACH_SECONDS", 0.2)
    writer, names = writer_of(15.0), [f"q{number}" for number in range(10)]

    def writes() -> dict[str, int]:
        paths = [request.path for request in front.requested(PATCHES)]
        return {name: sum(f"/{name}/status" in path for path in paths) for name in names}

    numbers = iter(range(1, 10_000))

    def changed_again() -> bool:
        current = next(numbers)
        for name in names:
            put(writer, name, current)
        return min(writes().values()) >= 2

    wait_until(changed_again, what="each twice", seconds=60, every=0.1)
    counts = writes().values()
    assert max(counts) <= min(counts) + 2, "the first ones alone"


def test_what_has_gone_is_forgotten(writer_of: Callable[..., StatusWriter], put: Callable[..., str]) -> None:
    writer = writer_of()
    first, second = put(writer, "a", 1), put(writer, "b", 1)
    writer.forget({first})
    assert writer.latest(first) is None
    assert writer.latest(second) == {"current": 1}


def test_what_changes_while_it_is_written_has_its_turn_after_the_others() -> None:
    """And not at once: an object that changes all the time would be written all the time."""
    written: list[tuple[str, int]] = []

    class Api:
        def patch_scaled_queue_status(self, ref: Ref, status: dict[str, Any], _: object) -> None:
            written.append((ref.name, status["n"]))
            if ref.name == "a":
                writer.put(ref, "a", {"n": status["n"] + 1})

    fence: Any = SimpleNamespace(leading=True, bounded=lambda deadline: deadline)
    api: Any = Api()
    writer = StatusWriter(api, fence, 1000.0)
    for name in ("a", "b", "c"):
        writer.put(Ref("ScaledQueue", "shop", name), name, {"n": 1})
    writer._step()
    assert written == [("a", 1), ("b", 1), ("c", 1)]
    assert writer.latest("a") == {"n": 2}, "in five seconds"
