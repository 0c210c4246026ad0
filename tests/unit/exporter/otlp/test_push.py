"""When a push is sent, sent again, and given up, by a clock of the test."""

from __future__ import annotations

from collections import deque
from functools import partial

import pytest
from prometheus_client.core import GaugeMetricFamily

from exporter.assessment import Assessment
from exporter.config.otlp import OtlpSettings
from exporter.otlp import push
from exporter.otlp.answers import PushAnswer
from exporter.otlp.push import Pusher
from exporter.otlp.requests import PushRequest, Resource, push_requests
from service.clock import Deadline
from tests.support.assessments import assessment

TAKEN = PushAnswer(None)
BUSY = PushAnswer("unavailable", "status 503", again=True)


class Endpoint:
    """Gives `answers`, then takes all; each request takes `seconds` of the clock."""

    place = "http://collector:4318"

    def __init__(self, *answers: PushAnswer, seconds: float = 0.0) -> None:
        self.answers = deque(answers)
        self.seconds = seconds
        self.at: list[float] = []
        self.requests: list[PushRequest] = []
        self.now = 100.0

    def send(self, request: PushRequest) -> PushAnswer:
        self.at.append(self.now - 100.0)
        self.requests.append(request)
        self.now += self.seconds
        return self.answers.popleft() if self.answers else TAKEN

    def close(self) -> None:
        """Nothing is open."""


def pusher_to(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, *, interval: float = 60, most_bytes: int = 1 << 20
) -> Pusher:
    monkeypatch.setattr(push, "monotonic", lambda: endpoint.now)
    monkeypatch.setattr(push, "push_requests", partial(push_requests, most_bytes=most_bytes))
    monkeypatch.setattr("random.uniform", lambda low, high: high)

    def assess(deadline: Deadline) -> Assessment:
        assert deadline is not None
        return assessment()

    return Pusher(
        OtlpSettings(endpoint="http://collector:4318", interval_seconds=interval),
        endpoint,
        assess=assess,
        own=lambda: [GaugeMetricFamily("process_start_time_seconds", "Start.", 1.0)],
        resource=lambda: Resource({"service.name": "oxherd"}, "1"),
    )


def run(pusher: Pusher, endpoint: Endpoint, seconds: float) -> None:
    """As its thread does, so long."""
    end = endpoint.now + seconds
    while endpoint.now < end:
        endpoint.now += pusher.step()


def test_pushes_keep_their_interval_whatever_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(seconds=7.0)
    run(pusher_to(endpoint, monkeypatch), endpoint, 170)
    assert endpoint.at == [0, 60, 120]


def test_a_step_that_is_woken_early_waits_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint()
    pusher = pusher_to(endpoint, monkeypatch)
    assert pusher.step() == 60
    endpoint.now += 20
    assert pusher.step() == 40
    assert len(endpoint.requests) == 1


def test_the_pauses_grow_until_the_push_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(*[BUSY] * 6)
    pusher = pusher_to(endpoint, monkeypatch)
    run(pusher, endpoint, 70)
    assert endpoint.at == [0, 1, 3, 7, 15, 31, 60]
    assert len({request.body for request in endpoint.requests[:6]}) == 1
    assert pusher.totals.failures == {"unavailable": 1}


def test_a_failure_is_told_after_a_minute_whatever_the_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endpoint = Endpoint(*[BUSY] * 6)
    pusher = pusher_to(endpoint, monkeypatch, interval=3600)
    run(pusher, endpoint, 3500)
    assert endpoint.at == [0, 1, 3, 7, 15, 31]
    assert pusher.state().failures == 1
    assert pusher.state().seconds == pytest.approx(endpoint.now - 100.0)


def test_the_other_requests_are_sent_after_one_that_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(PushAnswer("rejected", "status 400"))
    pusher = pusher_to(endpoint, monkeypatch, most_bytes=2000)
    pusher.step()
    first, *others = endpoint.requests
    assert len(others) > 3
    assert pusher.totals.rejected == first.points
    assert pusher.totals.taken == sum(request.points for request in others)
    assert pusher.totals.success is False


def test_the_other_requests_are_dropped_where_it_is_not_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(PushAnswer("unauthorized", "status 401"))
    pusher = pusher_to(endpoint, monkeypatch, most_bytes=2000)
    assert pusher.step() == 60
    assert len(endpoint.requests) == 1


def test_a_push_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(seconds=25.0)
    pusher = pusher_to(endpoint, monkeypatch, most_bytes=2000)
    assert pusher.step() == 0
    assert endpoint.at == [0, 25, 50]
    assert pusher.totals.failures == {"timeout": 1}
    assert pusher.totals.taken == sum(request.points for request in endpoint.requests)


def test_only_one_push_goes_on_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits to be sent again is not kept beside the next."""
    endpoint = Endpoint(PushAnswer("unavailable", again=True, after=59.0), BUSY)
    pusher = pusher_to(endpoint, monkeypatch)
    run(pusher, endpoint, 61)
    assert endpoint.at == [0, 59, 60]
    assert len({request.body for request in endpoint.requests}) == 1  # the assessment is the same
    assert pusher.state().failures == 0


def test_the_wait_of_an_endpoint_is_kept_beyond_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(PushAnswer("unavailable", again=True, after=600.0))
    run(pusher_to(endpoint, monkeypatch), endpoint, 650)
    assert endpoint.at[:2] == [0, 600]


def test_a_collection_that_raises_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint()
    pusher = pusher_to(endpoint, monkeypatch)

    def fail(deadline: Deadline) -> Assessment:
        raise KeyError(deadline)

    with monkeypatch.context() as patched:
        patched.setattr(pusher, "_assess", fail)
        with pytest.raises(KeyError):
            pusher.step()
    assert pusher.step() == 60
    assert pusher.totals.success is True
