"""Refusals that are gone in a moment, and those that stay."""

from __future__ import annotations

import pytest

from scaler.kube import backoff
from scaler.kube.backoff import BLIP_SECONDS, Backoff, Permission
from scaler.kube.errors import KubeError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(backoff, "monotonic", clock)
    return clock


def forbidden() -> KubeError:
    return KubeError("forbidden", "get deployments a/mail: 403 Forbidden", status=403)


def refused_until_denied(times: Backoff, clock: Clock, *, writing: bool = False) -> list[float]:
    """The pauses, while each request is refused, until the refusal counts."""
    pauses, kind = [], ""
    while kind != "forbidden":
        kind = times.failed(forbidden(), writing=writing).kind
        blocking, begun = times.blocking_writes if writing else times.blocking_reads, clock.now
        while blocking() is not None:
            clock.now += 0.25
        pauses.append(clock.now - begun)
    return pauses


def test_what_was_never_granted_is_denied_at_once(clock: Clock) -> None:
    error = Backoff().failed(forbidden())
    assert (error.kind, str(error)) == ("forbidden", "get deployments a/mail: 403 Forbidden")


@pytest.mark.parametrize("kind", ["forbidden", "unauthorized"])
def test_what_was_granted_before_is_asked_again_soon(clock: Clock, kind: str) -> None:
    times = Backoff()
    times.read_succeeded()
    error = times.failed(KubeError(kind, "get x: refused"))  # type: ignore[arg-type]
    assert error.kind == "unreachable"
    assert "asked again" in str(error)
    assert times.blocking_reads() is error
    clock.now += 1.0
    assert times.blocking_reads() is None


@pytest.mark.parametrize("writing", [False, True])
def test_a_refusal_that_stays_for_a_minute_is_denied(clock: Clock, *, writing: bool) -> None:
    times = Backoff()
    times.read_succeeded()
    times.write_permitted()
    begun = clock.now
    assert refused_until_denied(times, clock, writing=writing) == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]
    assert BLIP_SECONDS <= clock.now - 60.0 - begun <= BLIP_SECONDS + 5.0


def test_a_grant_begins_anew(clock: Clock) -> None:
    times = Backoff()
    times.read_succeeded()
    refused_until_denied(times, clock)
    times.read_succeeded()
    assert times.failed(forbidden()).kind == "unreachable"
    clock.now += 1.0
    assert times.blocking_reads() is None


def test_one_refusal_of_many_readers_counts_once() -> None:
    permission, error = Permission(), forbidden()
    permission.grant()
    for _ in range(100):
        permission.refuse(error, 5.0)
    assert permission.pause(5.0) == 1.0
    assert not permission.denied


@pytest.mark.parametrize(("longest", "expected"), [(60.0, 60.0), (300.0, 300.0)])
def test_what_is_never_granted_is_asked_for_as_rarely_as_is_said(longest: float, expected: float) -> None:
    """A thousand workloads without the right to get them would be asked for in vain each minute."""
    permission, now = Permission(longest), 0.0
    for _ in range(20):
        permission.refuse(forbidden(), now)
        now += permission.pause(now)
    permission.refuse(forbidden(), now)
    assert permission.pause(now) == expected


def test_a_workload_that_is_not_there_is_looked_for_in_each_step(clock: Clock) -> None:
    times = Backoff()
    times.failed(KubeError("not_found", "there is none"))
    assert times.blocking_reads() is None
