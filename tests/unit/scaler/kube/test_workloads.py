"""Which requests read the workloads of a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scaler.kube.objects import Json, Ref
from scaler.kube.workloads import LIST_FROM, Workloads
from service.clock import Deadline

REFS = [Ref("Deployment", "shop", f"w{number}") for number in range(LIST_FROM)]


class FakeApi:
    """Workloads with the same number of replicas."""

    def __init__(self) -> None:
        self.replicas, self.lists, self.gets = 2, 0, 0

    def workloads(self, ref: Ref, deadline: Deadline) -> Iterator[Json]:
        self.lists += 1
        return iter([self.data(ref) for ref in REFS])

    def workload(self, ref: Ref, deadline: Deadline) -> Json:
        self.gets += 1
        return self.data(ref)

    def data(self, ref: Ref) -> Json:
        return {"metadata": {"name": ref.name}, "spec": {"replicas": self.replicas}}


def registered(api: Any) -> Workloads:
    workloads = Workloads(api)
    for ref in REFS:
        workloads.register(ref)
    return workloads


def test_a_list_serves_the_reads_of_one_step_and_no_other() -> None:
    api = FakeApi()
    workloads = registered(api)
    assert {workloads.read(ref, Deadline(60.0)).replicas for ref in REFS} == {2}
    api.replicas = 3
    assert {workloads.read(ref, Deadline(60.0)).replicas for ref in REFS} == {2}
    assert {workloads.read(ref, Deadline(60.1)).replicas for ref in REFS} == {3}
    assert (api.lists, api.gets) == (2, 0)


def test_what_was_listed_before_a_write_is_not_read_after_it() -> None:
    api = FakeApi()
    workloads, step = registered(api), Deadline(60.0)
    workloads.read(REFS[0], step)
    api.replicas = 3
    workloads.written(REFS[1])
    assert workloads.read(REFS[0], step).replicas == 3


def test_a_workload_is_read_until_the_last_that_registered_it_is_gone() -> None:
    api = FakeApi()
    workloads = registered(api)
    workloads.register(REFS[0])
    workloads.unregister(REFS[0])
    workloads.read(REFS[0], Deadline(60.0))
    assert (api.lists, api.gets) == (1, 0)
    workloads.unregister(REFS[0])
    workloads.read(REFS[1], Deadline(61.0))
    assert (api.lists, api.gets) == (1, 1)
