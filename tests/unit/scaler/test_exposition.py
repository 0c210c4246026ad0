"""The text of the scaler's families, compared with prometheus_client's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from scaler.config.settings import PolicySettings
from scaler.exposition import FamilyText
from scaler.model import Control, Decision, Missing, Override, QueueSample, Workers
from scaler.step_result import StepCounters, StepResult, TargetStep
from service.outcome import Failed, Ok
from service.process_metrics import registry_text
from service.web.text_format import TextForm
from tests.support.scaler_metrics import metrics

NAMES = st.text(min_size=1, max_size=4)
NUMBERS = st.one_of(st.integers(0, 3), st.floats(0, allow_infinity=False), st.sampled_from([1e6, 123456.75]))
WORKERS = st.one_of(
    st.builds(Ok, st.builds(Workers, st.integers(0, 10**7), st.none() | st.integers(0, 9))),
    st.builds(Failed, st.sampled_from(["not_found", "forbidden", "timeout"]), st.just("why")),
)
SAMPLES = st.one_of(st.just(Missing("empty", "why")), st.builds(QueueSample, st.just(5.0), NUMBERS, NUMBERS))
CONTROLS = st.sampled_from(
    [Control(), Control(paused=True), Control(override=Override(3, "sale", "me", 1.0, 9.5))]
)


class Library(Collector):
    def __init__(self, result: StepResult, counters: StepCounters) -> None:
        self._result, self._counters = result, counters

    def collect(self) -> Iterable[Metric]:
        return metrics(self._result, self._counters)


@st.composite
def results(draw: st.DrawFn) -> StepResult:
    steps = [
        TargetStep(
            name,
            tuple(draw(st.lists(NAMES, max_size=2))),
            PolicySettings(policy=draw(st.sampled_from(["wait_target", "threshold"]))),
            7.25,
            draw(WORKERS),
            draw(SAMPLES),
            draw(CONTROLS),
            Decision(2, 1, "load", "", {"concurrency": 2.0, "service_seconds": draw(NUMBERS)})
            if draw(st.booleans())
            else None,
        )
        for name in draw(st.lists(NAMES, max_size=4, unique=True))
    ]
    return StepResult(1.8e9, draw(NUMBERS), tuple(steps), leading=draw(st.booleans()))


@pytest.mark.parametrize("form", ["text", "openmetrics"])
@given(result=results(), later=results(), count=st.integers(1, 10**7))
def test_it_is_line_for_line_that_of_prometheus_client(
    form: TextForm, result: StepResult, later: StepResult, count: int
) -> None:
    counters = StepCounters({("mail", 'm"a', "up", "load"): count}, {"timeout": 2}, 3)
    text = FamilyText()
    for step in (result, later, result):
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Library(step, counters))
        expected = registry_text(registry, form).removesuffix(b"# EOF\n")
        assert text.of(step, counters, form).splitlines() == expected.splitlines()


@pytest.mark.parametrize("took", [0.0, -0.0, inf, 1.0, 999999.0, 1e6, 1.5e7, 1e-7, 1e300])
def test_numbers_are_as_the_library_writes_them(took: float) -> None:
    result = replace(StepResult(0.0, 0.0), took=took)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Library(result, StepCounters()))
    assert FamilyText().of(result, StepCounters(), "text") == registry_text(registry, "text")


def test_before_the_first_step_there_are_none() -> None:
    assert FamilyText().of(None, StepCounters(), "text") == b""
