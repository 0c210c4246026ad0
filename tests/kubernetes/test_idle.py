"""Idle pods first: real pods, marked by what an exporter says, just before a scale-in."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.deadline import wait_until
from scaler.busy import ExporterBusy, busy_jobs_of, idle_workers
from scaler.kube.api import KubeApi
from scaler.kube.idle import MOST_PATCHES, IdleFirst, marks
from scaler.kube.objects import DELETION_COST, Pod
from scaler.model import Applied
from service.outcome import Failed, Ok
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import ACCOUNT
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.rules import RULES
from tests.support.kubernetes.targets import TargetOf, read, refused, soon


class Says(ThreadingHTTPServer):
    """An exporter that answers with `body`."""

    daemon_threads = True
    body = b"{}"
    requested: list[str]
    keys: list[str | None]


class _Handler(BaseHTTPRequestHandler):
    server: Says

    def do_GET(self) -> None:
        self.server.requested.append(self.path)
        self.server.keys.append(self.headers.get("x-api-key"))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def exporter() -> Iterator[Says]:
    server = Says(("127.0.0.1", 0), _Handler)
    server.requested, server.keys = [], []
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def idle_first(api: KubeApi, exporter: Says) -> IdleFirst:
    url = f"http://127.0.0.1:{exporter.server_address[1]}"
    return IdleFirst(api, ExporterBusy(url, "bull", ["mail", "v*"], lambda: "the-key-of-the-api"))


def test_the_busy_pods_stay(admin: Admin, api: KubeApi, exporter: Says, target_of: TargetOf) -> None:
    admin.workload("mail", 5)
    target = target_of(idle_first=idle_first(api, exporter))
    wait_until(lambda: read(target).ready == 5, what="five pods", seconds=50)
    names = sorted(pod["metadata"]["name"] for pod in admin.pods("mail"))
    busy = {names[1]: 2, names[4]: 1}
    exporter.body = json.dumps({"workers": busy | {"of another pod": 9}}).encode()
    assert target.scale(5, 2, soon()) == Applied(2)
    wait_until(lambda: len(admin.pods("mail")) == 2, what="two pods are left", seconds=50)
    assert {pod["metadata"]["name"] for pod in admin.pods("mail")} == set(busy)
    assert exporter.requested == ["/busy.json?prefix=bull&queue=mail&queue=v%2A"]
    assert exporter.keys == ["the-key-of-the-api"]


def test_a_pod_that_is_idle_again_loses_its_mark(
    admin: Admin, api: KubeApi, exporter: Says, target_of: TargetOf
) -> None:
    admin.workload("mail", 3)
    target = target_of(idle_first=idle_first(api, exporter))
    wait_until(lambda: read(target).ready == 3, what="three pods", seconds=50)
    first = admin.pods("mail")[0]["metadata"]["name"]
    exporter.body = json.dumps({"workers": {first: 1}}).encode()
    target.scale(3, 2, soon())
    exporter.body = json.dumps({"workers": {}}).encode()
    read(target)
    target.scale(2, 1, soon())
    costs = [pod["metadata"].get("annotations", {}).get(DELETION_COST) for pod in admin.pods("mail")]
    assert set(costs) <= {None, "0"}


@pytest.mark.fault
@pytest.mark.parametrize("requests", ["GET .*/pods", "PATCH .*/pods"])
def test_a_starting_server_that_refuses_a_mark_does_not_end_the_marks(
    admin: Admin, front: Front, api: KubeApi, exporter: Says, target_of: TargetOf, requests: str
) -> None:
    admin.workload("mail", 3)
    target = target_of(idle_first=idle_first(api, exporter))
    wait_until(lambda: read(target).ready == 3, what="three pods", seconds=50)
    first = admin.pods("mail")[0]["metadata"]["name"]
    exporter.body = json.dumps({"workers": {first: 1}}).encode()

    def marked() -> list[object]:
        """Pods are marked before the write, which is refused here: there are no nine."""
        assert refused(target, 9, 8).kind == "conflict"
        return [pod for pod in admin.pods("mail") if DELETION_COST in pod["metadata"].get("annotations", {})]

    with front.starting(requests, times=1):
        assert not marked()
    wait_until(marked, seconds=15, what="marked again")


def test_a_role_that_does_not_let_us_mark_is_asked_for_now_and_then(
    admin: Admin, front: Front, api: KubeApi, exporter: Says, target_of: TargetOf
) -> None:
    admin.workload("mail", 3)
    admin.rules(ACCOUNT, [rule for rule in RULES if "pods" not in rule["resources"]])
    target = target_of(idle_first=idle_first(api, exporter))
    wait_until(lambda: read(target).ready == 3, what="three pods", seconds=50)
    exporter.body = json.dumps({"workers": {admin.pods("mail")[0]["metadata"]["name"]: 1}}).encode()
    for _ in range(5):
        assert refused(target, 9, 8).kind == "conflict"
    assert len(front.requested("GET .*/pods")) == 1


def test_an_exporter_without_the_figures_does_not_block_a_scale_in(
    admin: Admin, api: KubeApi, exporter: Says, target_of: TargetOf, caplog: pytest.LogCaptureFixture
) -> None:
    admin.workload("mail", 3)
    target = target_of(idle_first=idle_first(api, exporter))
    wait_until(lambda: read(target).ready == 3, what="three pods", seconds=50)
    exporter.body = b"<html>"
    assert target.scale(3, 1, soon()) == Applied(1)
    assert "cannot mark idle pods" in caplog.text


def test_the_exporter_is_not_queried_before_scaling_out(
    admin: Admin, api: KubeApi, exporter: Says, target_of: TargetOf
) -> None:
    admin.workload("mail", 1)
    target = target_of(idle_first=idle_first(api, exporter))
    read(target)
    target.scale(1, 3, soon())
    assert exporter.requested == []


PODS = st.lists(
    st.builds(
        Pod,
        name=st.sampled_from([f"p{number}" for number in range(200)]),
        ready=st.booleans(),
        ending=st.just(value=False),
        start_seconds=st.none(),
        cost=st.integers(-2, 3),
    ),
    unique_by=lambda pod: pod.name,
)


@given(PODS, st.dictionaries(st.sampled_from([f"p{number}" for number in range(200)]), st.integers(0, 3)))
def test_marks_are_few_and_the_dearest_come_first(pods: list[Pod], busy: dict[str, int]) -> None:
    changed = marks(pods, busy)
    assert len(changed) <= MOST_PATCHES
    assert [cost for _, cost in changed] == sorted((cost for _, cost in changed), reverse=True)
    after = {pod.name: pod.cost for pod in pods} | dict(changed)
    if len(changed) < MOST_PATCHES:
        assert after == {pod.name: busy.get(pod.name, 0) for pod in pods}


@pytest.mark.parametrize(
    "answer",
    [None, [], {}, {"workers": 3}, *({"workers": {"a": jobs}} for jobs in ("many", None, 0.5, -1, 1e999))],
)
def test_an_invalid_answer_of_an_exporter(answer: object) -> None:
    with pytest.raises(ValueError, match=r"exporter|number of jobs"):
        busy_jobs_of(answer)


@pytest.mark.parametrize(
    ("answer", "idle"),
    [
        ({"workers": {"mail-a": 2, "mail-b": 1}, "unnamed": 0, "cut_off": False}, 3),
        ({"workers": {}, "unnamed": 0, "cut_off": False}, 5),
        ({"workers": {"mail-a": 1}, "unnamed": 1, "cut_off": False}, None),
        ({"workers": {"mail-a": 1}, "unnamed": 0, "cut_off": True}, None),
        ({"workers": {"mail-a": 1}}, None),
        ({"workers": {"mail-a": 1, "laptop": 1}, "unnamed": 0, "cut_off": False}, None),
        ({"workers": {f"mail-{n}": 1 for n in range(9)}, "unnamed": 0, "cut_off": False}, -4),
    ],
)
def test_idle_workers_are_known_if_every_job_has_the_name_of_one(
    answer: dict[str, object], idle: int | None
) -> None:
    assert idle_workers(busy_jobs_of(answer), "mail-", 5) == idle


def test_the_idle_pods_are_counted_before_a_scale_in(
    admin: Admin, api: KubeApi, exporter: Says, target_of: TargetOf
) -> None:
    admin.workload("mail", 3)
    target = target_of(idle_first=idle_first(api, exporter))
    wait_until(lambda: read(target).ready == 3, what="three pods", seconds=50)
    name = admin.pods("mail")[0]["metadata"]["name"]
    exporter.body = json.dumps({"workers": {name: 1}, "unnamed": 0, "cut_off": False}).encode()
    assert target.idle(soon()) == Ok(2)
    exporter.body = b"<html>"
    assert isinstance(target.idle(soon()), Failed)
