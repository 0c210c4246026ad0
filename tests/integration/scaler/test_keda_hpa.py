"""KEDA and the HPA in simulated time, with the external scaler over real gRPC as what they ask."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import grpc
import pytest

from scaler.engines.decisions import Decisions
from scaler.keda.answers import METRIC
from scaler.keda.server import KedaServer
from scaler.model import Missing, QueueSample
from scaler.step_result import TargetStep
from tests.support.engine_steps import target, target_step
from tests.support.hpa import HPA_SYNC, UnknownMetricError
from tests.support.keda_client import metrics_request, ref, stub
from tests.support.keda_hpa import ScaledObject, Workload

PAGE = (Path(__file__).parents[3] / "docs" / "keda.md").read_text()
FAST = ScaledObject(up=(0.0, 100.0))
EXACT = replace(FAST, tolerance=0.0, stabilization=0)


class OverGrpc:
    """The external scaler, whose clock is that of the simulation."""

    def __init__(self) -> None:
        self.now = 0.0
        self.server = KedaServer("127.0.0.1", 0, Decisions([target()]), clock=lambda: self.now)
        self.server.start()
        self._channel = grpc.insecure_channel(self.server.address)
        self._keda = stub(self._channel)

    def decide(self, step: TargetStep, at: float) -> None:
        """A step of this second."""
        dated = step._replace(time=at, sample=_dated(step, at))
        self.server.publish(Decisions([target()], {"mail": dated}, at, at, 5.0))
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(10)

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        assert self.server._loop is not None
        return self.server._loop

    def value(self, now: float) -> float:
        response = self._asked(now, self._keda.GetMetrics, metrics_request(METRIC, target="mail"))
        (value,) = response.metricValues
        return float(value.metricValueFloat)

    def active(self, now: float) -> bool:
        return bool(self._asked(now, self._keda.IsActive, ref(target="mail")).result)

    def target_size(self) -> float:
        (spec,) = self._keda.GetMetricSpec(ref(target="mail"), timeout=10).metricSpecs
        return float(spec.targetSizeFloat)

    def _asked(self, now: float, method: Any, message: Any) -> Any:
        self.now = now
        try:
            return method(message, timeout=10)
        except grpc.RpcError as error:
            raise UnknownMetricError from error

    def stop(self) -> None:
        self._channel.close()
        assert self.server.stop()


def _dated(step: TargetStep, at: float) -> QueueSample | Missing:
    return step.sample if isinstance(step.sample, Missing) else step.sample._replace(at=at - 1)


@pytest.fixture
def keda() -> Iterator[OverGrpc]:
    scaler = OverGrpc()
    yield scaler
    scaler.stop()


def test_the_number_is_reached_in_one_look_of_the_hpa(keda: OverGrpc) -> None:
    scaled = replace(FAST, target=keda.target_size())
    for current, recommended in ((1, 2), (1, 20), (3, 4), (9, 10), (20, 40), (40, 47), (50, 100)):
        keda.decide(target_step(recommended, max_workers=100), 0)
        workload = Workload(scaled, keda, replicas=current, synced=7)
        assert workload.reaches(recommended, within=30) == 7


def test_without_tolerance_each_number_is_exact_and_with_it_those_below_ten(keda: OverGrpc) -> None:
    for current in range(1, 31):
        for recommended in (current - 1, current + 1):
            if recommended == 0:
                continue
            keda.decide(target_step(recommended, max_workers=100), 0)
            exact = Workload(EXACT, keda, replicas=current, synced=0)
            assert exact.after(0) == recommended
            usual = Workload(replace(EXACT, tolerance=0.1), keda, replicas=current, synced=0)
            assert (usual.after(0) == recommended) is (current < 10)


def test_the_hpas_own_pace_takes_three_looks(keda: OverGrpc) -> None:
    """Unless `behavior` says otherwise it doubles the replicas at most, or adds four."""
    keda.decide(target_step(20), 0)
    workload = Workload(ScaledObject(), keda, replicas=1, synced=0)
    workload.after(3 * HPA_SYNC)
    assert workload.history == [(0, 5), (15, 10), (30, 20)]


def test_from_zero_by_polling_and_by_a_push(keda: OverGrpc) -> None:
    keda.decide(target_step(6), 0)
    polled = Workload(FAST, keda, polled=29, synced=10)
    assert (polled.reaches(1), polled.reaches(6)) == (29, 40)
    stream = keda._keda.StreamIsActive(ref(target="mail"), timeout=10)
    assert next(stream).result is True
    stream.cancel()
    pushed = Workload(FAST, keda, polled=29, synced=10, pushed=first_second)
    assert (pushed.reaches(1), pushed.reaches(6)) == (0, 10)


NOTHING = target_step(0, sample=QueueSample(0.0, 0.0, 0.0), idle=301.0)


def test_to_zero_after_kedas_own_cooldown_too(keda: OverGrpc) -> None:
    """Both wait: the scaler before it is inactive, KEDA after that. One of the two is enough."""
    workload = Workload(ScaledObject(stabilization=0), keda, replicas=5)
    for now in range(0, 700, 5):
        keda.decide(target_step(5) if now < 100 else NOTHING, now)
        workload.after(now)
    assert workload.history == [(105, 1), (420, 0)]


@pytest.mark.fault
def test_without_a_decision_the_replicas_stay_and_the_fallback_applies(keda: OverGrpc) -> None:
    missing = target_step(None, sample=Missing("unreachable", "Prometheus does not answer"))
    held, falls_back = (
        Workload(replace(FAST, fallback=fallback), keda, replicas=6) for fallback in (None, (3, 12))
    )
    for now in range(0, 600, 5):
        keda.decide(target_step(6) if now < 60 else missing if now < 300 else target_step(6), now)
        held.after(now)
        falls_back.after(now)
    assert held.history == []
    (out, more), (back, again) = falls_back.history
    assert (more, again) == (12, 6)
    assert 60 < out <= 60 + 2 * HPA_SYNC, "four errors: of two looks and two polls"
    assert back >= 600 - HPA_SYNC or back >= 300, "in after the stabilization of 300 s"


@pytest.mark.fault
def test_steps_that_hang_are_no_decision_for_ever(keda: OverGrpc) -> None:
    keda.decide(target_step(20), 0)
    workload = Workload(replace(FAST, polling=30), keda, replicas=1, polled=90, synced=90)
    assert workload.after(300) == 1
    assert workload.failures > 10


class Delayed:
    """The number 6 from the first second on, which is read only after `delay` seconds."""

    def __init__(self, delay: int) -> None:
        self.delay = delay

    def value(self, now: float) -> float:
        return 6.0 if now >= self.delay else 1.0

    def active(self, now: float) -> bool:
        return now >= self.delay


def costs(*, push: bool = False, scrape: int = 1, polling: int = 30) -> tuple[list[int], list[int]]:
    """Seconds from the decision until the first worker, and from one worker until all six, over all moments
    at which KEDA, the HPA and the scrape may look."""
    first: list[int | None] = []
    all_six: list[int | None] = []
    scaled = replace(FAST, polling=polling)
    for delay in range(scrape):
        source = Delayed(delay)
        for moment in range(HPA_SYNC):
            hpa = Workload(scaled, source, replicas=1, synced=moment, last_active=0)
            all_six.append(hpa.reaches(6))
        for moment in range(polling):
            pushed = first_second if push else no_push
            keda = Workload(scaled, source, polled=moment, synced=10**9, pushed=pushed)
            first.append(keda.reaches(1))
    return [now for now in first if now is not None], [now for now in all_six if now is not None]


def no_push(_: float) -> None:
    return None


def first_second(now: float) -> bool:
    return now == 0


def cell(seconds: list[int]) -> str:
    """A look falls anywhere in its second: half a second later on average, a whole one at most."""
    return "0" if max(seconds) == 0 else f"{mean(seconds) + 0.5:.0f}, at most {max(seconds) + 1}"


@pytest.mark.parametrize(
    ("way", "given"),
    [
        ("`external-push`", {"push": True}),
        ("`external`", {}),
        ("`metrics-api` on `/status.json`", {}),
        ("`prometheus` on the series, scraped every 15 s", {"scrape": 15}),
        ("`prometheus` on the series, scraped every 5 s", {"scrape": 5}),
    ],
)
def test_the_page_has_what_each_way_costs(way: str, given: dict[str, Any]) -> None:
    first, all_six = costs(**given)
    assert f"| {way} | {cell(first)} | {cell(all_six)} |" in PAGE, (
        f"| {way} | {cell(first)} | {cell(all_six)} |"
    )


def test_with_a_shorter_polling_interval_the_first_worker_comes_sooner() -> None:
    first, _ = costs(polling=5)
    assert re.search(rf"`pollingInterval: 5` makes it {cell(first)} s", PAGE), cell(first)
