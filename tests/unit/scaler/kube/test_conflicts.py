"""Other autoscalers of workloads, when their lists fail."""

from __future__ import annotations

from typing import Any

import pytest

from scaler.kube import conflicts
from scaler.kube.conflicts import OtherAutoscalers
from scaler.kube.errors import KubeError
from scaler.kube.objects import Json, Ref, Workload
from service.clock import Deadline

REF = Ref("Deployment", "shop", "mail")
HPA: Json = {
    "metadata": {"name": "mail-hpa"},
    "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "mail"}},
}


class FakeApi:
    """Lists, or the errors of requests for them."""

    def __init__(self) -> None:
        self.hpas: list[Json] | KubeError = [HPA]
        self.scaled: list[Json] | KubeError = KubeError("not_found", "no KEDA")
        self.requests = 0

    def autoscalers(self, namespace: str, deadline: Deadline) -> list[Json]:
        self.requests += 1
        return answer(self.hpas)

    def scaled_objects(self, namespace: str, deadline: Deadline) -> list[Json]:
        return answer(self.scaled)


def answer(result: list[Json] | KubeError) -> list[Json]:
    if isinstance(result, KubeError):
        raise KubeError(result.kind, str(result))  # one for each request
    return result


class Clock:
    at = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(conflicts, "monotonic", lambda: clock.at)
    return clock


def autoscalers_of(api: Any) -> OtherAutoscalers:
    return OtherAutoscalers(api)


def found(autoscalers: OtherAutoscalers, *, at_once: bool = False) -> str | None:
    workload = Workload(2, "1", "uid", "app=mail")
    return autoscalers.of(workload, REF, Deadline(0.0), at_once=at_once)


@pytest.mark.parametrize("kind", ["unreachable", "timeout", "throttled", "forbidden"])
def test_an_autoscaler_whose_list_fails_is_not_forgotten(clock: Clock, kind: Any) -> None:
    api = FakeApi()
    autoscalers = autoscalers_of(api)
    assert found(autoscalers) == "HorizontalPodAutoscaler mail-hpa"
    api.hpas = KubeError(kind, "list horizontalpodautoscalers failed")
    for _ in range(9):
        clock.at += 60.0
        assert found(autoscalers) == "HorizontalPodAutoscaler mail-hpa"


def test_a_list_of_another_kind_does_not_keep_it_alive(clock: Clock) -> None:
    api = FakeApi()
    autoscalers = autoscalers_of(api)
    assert found(autoscalers) is not None
    api.hpas = KubeError("unreachable", "list horizontalpodautoscalers: 503")
    clock.at += 601.0
    assert found(autoscalers) is None


def test_one_that_is_gone_is_gone_though_the_other_kind_cannot_be_read(clock: Clock) -> None:
    api = FakeApi()
    autoscalers = autoscalers_of(api)
    assert found(autoscalers) is not None
    api.hpas, api.scaled = [], KubeError("unreachable", "list scaledobjects: 503")
    clock.at += 60.0
    assert found(autoscalers) is None


def test_a_list_that_failed_is_read_again_within_seconds(clock: Clock) -> None:
    api = FakeApi()
    autoscalers = autoscalers_of(api)
    api.hpas = KubeError("unreachable", "list horizontalpodautoscalers: 503")
    assert found(autoscalers) is None
    api.hpas = [HPA]
    clock.at += 5.0
    assert found(autoscalers) == "HorizontalPodAutoscaler mail-hpa"
    clock.at += 5.0
    assert (found(autoscalers), api.requests) == ("HorizontalPodAutoscaler mail-hpa", 2)


def test_a_list_that_hangs_is_asked_for_once_a_minute(clock: Clock) -> None:
    api = FakeApi()
    api.hpas = KubeError("timeout", "list horizontalpodautoscalers failed")
    autoscalers = autoscalers_of(api)
    for _ in range(11):
        found(autoscalers)
        clock.at += 5.0
    assert api.requests == 1


def test_a_list_that_is_forbidden_is_asked_for_ever_more_rarely(clock: Clock) -> None:
    api = FakeApi()
    api.scaled = KubeError("forbidden", "list scaledobjects: 403")
    autoscalers = autoscalers_of(api)
    numbers = []
    for _ in range(3):
        for _ in range(60):
            found(autoscalers)
            clock.at += 5.0
        numbers.append(api.requests)
    assert numbers[0] <= 10
    assert numbers[2] - numbers[1] <= 5 + 1


@pytest.mark.fault
@pytest.mark.parametrize("granted_before", [True, False])
def test_an_autoscaler_is_seen_within_seconds_after_a_starting_server_refused(
    clock: Clock,
    granted_before: bool,  # noqa: FBT001
) -> None:
    api = FakeApi()
    autoscalers = autoscalers_of(api)
    api.hpas = []
    if granted_before:
        assert found(autoscalers) is None
        clock.at += 60.0
    api.hpas = KubeError("forbidden", "list horizontalpodautoscalers: 403")
    assert found(autoscalers) is None
    api.hpas = [HPA]
    clock.at += 5.0
    assert found(autoscalers) == "HorizontalPodAutoscaler mail-hpa"
