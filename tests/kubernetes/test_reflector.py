"""ScaledQueues as they are kept: a list in pages, a watch that goes on, what was missed, bounds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.crd.schema import definition
from lab.deadline import wait_until
from scaler.kube.scaled_queues import reflector as module
from scaler.kube.scaled_queues.reflector import Reflector
from service.clock import monotonic
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import ACCOUNT, KubeApiOf
from tests.support.kubernetes.fake_api import FakeApi
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.rules import RULES, scaled_queue_rules
from tests.support.kubernetes.scaled_queues import ScaledQueueAdmin

pytestmark = pytest.mark.timeout(90)

WATCH = "GET .*scaledqueues.*watch=true"
LIST = "GET .*scaledqueues[?].*limit="


@pytest.fixture
def server() -> FakeApi:
    """In memory, whatever cluster the others use: its history and its watches are changed."""
    return FakeApi()


@pytest.fixture
def front(server: FakeApi) -> Iterator[Front]:
    made = Front(server.answer)
    yield made
    server.history.drop_watches()
    made.stop()


@pytest.fixture
def queues(admin: Admin, token: str) -> ScaledQueueAdmin:
    admin.define(definition())
    admin.rules(ACCOUNT, [*RULES, *scaled_queue_rules()])
    return ScaledQueueAdmin(admin)


@pytest.fixture
def reflect(admin: Admin, queues: ScaledQueueAdmin, api_of: KubeApiOf) -> Iterator[Callable[..., Reflector]]:
    with ExitStack() as undo:

        def start(most: int = 1000) -> Reflector:
            made = Reflector(api_of(requests_per_second=1000), admin.namespace, most)
            made.start()
            undo.callback(made.stop)
            eventually(lambda: made.synced, "a list")
            return made

        yield start


def eventually(holds: Callable[[], object], what: str) -> None:
    wait_until(lambda: bool(holds()), what=what, seconds=60)


def names(reflector: Reflector) -> list[str]:
    return sorted(queue.name for queue in reflector.objects().values())


def test_a_list_and_what_changes_after_it(
    queues: ScaledQueueAdmin, front: Front, reflect: Callable[..., Reflector]
) -> None:
    queues.apply("a")
    reflector = reflect()
    assert names(reflector) == ["a"]
    queues.apply("b")
    eventually(lambda: names(reflector) == ["a", "b"], "the new one")
    changes = reflector.changes
    queues.apply("a", maxWorkers=3)
    eventually(lambda: reflector.changes > changes, "the change")
    queues.delete("a")
    eventually(lambda: names(reflector) == ["b"], "the deletion")
    assert len(front.requested(LIST)) == 1
    assert len(front.requested(WATCH)) == 1


def test_a_status_is_no_change_of_what_is_declared(
    admin: Admin, queues: ScaledQueueAdmin, reflect: Callable[..., Reflector]
) -> None:
    queues.apply("a")
    reflector = reflect()
    changes = reflector.changes
    admin.ask(
        "PATCH", f"{queues.path('a')}/status", {"status": {"current": 3}}, "application/merge-patch+json"
    )
    eventually(lambda: next(iter(reflector.objects().values())).status == {"current": 3}, "the status")
    assert reflector.changes == changes
    queues.annotate("a", paused="true")
    eventually(lambda: reflector.changes > changes, "the order")


def test_a_list_has_pages(queues: ScaledQueueAdmin, front: Front, reflect: Callable[..., Reflector]) -> None:
    for number in range(250):
        queues.apply(f"q{number:03}")
    reflector = reflect()
    assert len(reflector.objects()) == 250
    assert len(front.requested(LIST)) == 3


def test_a_watch_that_ends_goes_on_where_it_was(
    queues: ScaledQueueAdmin, server: FakeApi, front: Front, reflect: Callable[..., Reflector]
) -> None:
    queues.apply("a")
    reflector = reflect()
    eventually(lambda: front.requested(WATCH), "a watch")
    with front.fault(WATCH, "status", status=503, times=2):
        server.history.drop_watches()
        queues.delete("a")  # while nobody watches
        queues.apply("b")
        eventually(lambda: names(reflector) == ["b"], "what was missed")
    assert len(front.requested(LIST)) == 1
    assert len(front.requested(WATCH)) >= 4


def test_a_version_that_is_forgotten_begins_with_a_list(
    queues: ScaledQueueAdmin,
    server: FakeApi,
    front: Front,
    reflect: Callable[..., Reflector],
    caplog: pytest.LogCaptureFixture,
) -> None:
    queues.apply("a")
    reflector = reflect()
    eventually(lambda: front.requested(WATCH), "a watch")
    with front.fault(WATCH, "status", status=503):  # until the version is forgotten, however slow this is
        server.history.drop_watches()
        queues.delete("a")
        queues.apply("b")
        server.expire()
    eventually(lambda: names(reflector) == ["b"], "what was missed")
    assert len(front.requested(LIST)) == 2
    assert not [record for record in caplog.records if "410" in str(getattr(record, "error", ""))]


def test_a_bookmark_keeps_the_version_recent(
    admin: Admin, queues: ScaledQueueAdmin, server: FakeApi, front: Front, reflect: Callable[..., Reflector]
) -> None:
    """Only other objects change: without bookmarks the version of the list would be forgotten."""
    server.history.bookmark_seconds = 0.2
    queues.apply("a")
    reflector = reflect()
    admin.workload("other", 1)
    version = int(admin.get("other")["metadata"]["resourceVersion"])
    eventually(lambda: int(reflector._version or 0) >= version, "a bookmark")
    server.history.drop_watches()
    eventually(lambda: len(front.requested(WATCH)) == 2, "another watch")
    path = front.requested(WATCH)[1].path
    assert int(path.partition("resourceVersion=")[2].partition("&")[0]) >= version
    assert len(front.requested(LIST)) == 1


def test_a_silent_watch_is_begun_again(
    queues: ScaledQueueAdmin, front: Front, reflect: Callable[..., Reflector], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that the network has forgotten: nothing comes, not even its end."""
    monkeypatch.setattr(module, "_SILENCE_SECONDS", 0.5)
    queues.apply("a")
    reflector = reflect()
    eventually(lambda: len(front.requested(WATCH)) >= 2, "another watch")
    queues.apply("b")
    eventually(lambda: names(reflector) == ["a", "b"], "the new one")
    assert len(front.requested(LIST)) == 1


def test_a_token_that_was_replaced_is_read_again(
    admin: Admin, queues: ScaledQueueAdmin, server: FakeApi, reflect: Callable[..., Reflector], tmp_path: Path
) -> None:
    queues.apply("a")
    reflector = reflect()
    admin.kubeconfig(tmp_path / "kubeconfig", admin.new_account(ACCOUNT))
    server.history.drop_watches()
    queues.apply("b")
    eventually(lambda: names(reflector) == ["a", "b"], "the new one")


def test_half_an_hour_begins_with_a_list(
    queues: ScaledQueueAdmin, front: Front, reflect: Callable[..., Reflector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESYNC_SECONDS", 0.5)
    reflect()

    def listed_again() -> bool:
        queues.apply("a", maxWorkers=1 + int(monotonic() * 10) % 9)  # an event, after which it is looked at
        return len(front.requested(LIST)) >= 2

    eventually(listed_again, "another list")


def test_a_server_that_hangs_or_refuses_leaves_what_is_known(
    queues: ScaledQueueAdmin,
    server: FakeApi,
    front: Front,
    reflect: Callable[..., Reflector],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    queues.apply("a")
    reflector = reflect()
    eventually(lambda: front.requested(WATCH), "a watch")
    with front.fault("GET .*scaledqueues", "status", status=403, body=b'{"message": "no"}'):
        server.history.drop_watches()
        eventually(lambda: "cannot read scaled queues" in caplog.messages, "a line")
        assert names(reflector) == ["a"]
    eventually(lambda: "scaled queues read again" in caplog.messages, "another line")
    assert caplog.messages.count("cannot read scaled queues") == 1


def test_pauses_grow_while_it_fails(
    front: Front, queues: ScaledQueueAdmin, reflect: Callable[..., Reflector]
) -> None:
    with front.fault(WATCH, "status", status=500):
        reflect()
        eventually(lambda: len(front.requested(WATCH)) >= 3, "attempts")
        times = [request.at for request in front.requested(WATCH)]
    assert times[1] - times[0] >= 0.5
    assert times[2] - times[1] >= 1.0


def test_without_the_definition_the_line_says_so(
    admin: Admin, queues: ScaledQueueAdmin, api_of: KubeApiOf, caplog: pytest.LogCaptureFixture
) -> None:
    admin.undefine(definition())
    reflector = Reflector(api_of(), admin.namespace, 10)
    reflector.start()
    try:
        eventually(lambda: caplog.records, "a line")
    finally:
        assert reflector.stop()
    assert "is the CustomResourceDefinition installed" in caplog.records[0].error  # type: ignore[attr-defined]


def test_no_more_than_so_many_are_kept(
    queues: ScaledQueueAdmin, reflect: Callable[..., Reflector], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b", "c"):
        queues.apply(name)
    reflector = reflect(2)
    assert names(reflector) == ["a", "b"]
    assert caplog.messages.count("too many scaled queues") == 1
    queues.delete("a")
    eventually(lambda: names(reflector) == ["b", "c"], "the place is taken")


def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones(
    queues: ScaledQueueAdmin, front: Front, reflect: Callable[..., Reflector]
) -> None:
    for number in range(12):
        queues.apply(f"q{number:02}")
    large = json.dumps({"items": [], "x": "x" * (33 << 20)}).encode()
    with front.fault("GET .*limit=100", "status", status=200, body=large):
        reflector = reflect()
    assert len(reflector.objects()) == 12
    assert len(front.requested("GET .*limit=10&|GET .*limit=10$")) == 2


@pytest.mark.parametrize(
    "line",
    [
        b"not JSON\n",
        b"[]\n",
        b'{"type": "ADDED"}\n',
        b'{"type": "ERROR", "object": {"code": "x"}}\n',
        b'{"type": "MODIFIED", "object": {"metadata": {}}}\n',
        b'{"type": "ADDED", "object": {"metadata": {"name": "x", "namespace": "y", "uid": "z"}}}\n',
        b"x" * (5 << 20),
    ],
)
def test_an_event_that_is_none_does_no_harm(
    queues: ScaledQueueAdmin, front: Front, reflect: Callable[..., Reflector], line: bytes
) -> None:
    queues.apply("a")
    with front.fault(WATCH, "status", status=200, body=line, times=1):
        reflector = reflect()
        queues.apply("b")
        eventually(lambda: {"a", "b"} <= set(names(reflector)), "the next watch")


def test_a_stop_does_not_wait_for_the_watch(front: Front, reflect: Callable[..., Reflector]) -> None:
    reflector = reflect()
    eventually(lambda: front.requested(WATCH), "a watch")
    begun = monotonic()
    assert reflector.stop()
    assert monotonic() - begun < 2
