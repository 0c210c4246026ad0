from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.memory.growth import LEAST_SECONDS, Trend
from exporter.snapshot.memory import Growth, NodeMemory


def trend(*points: tuple[float, float], error: float = 0.0) -> Trend:
    known = Trend()
    for at, size in points:
        known.add(at, size, error)
    return known


def test_a_straight_line_is_its_rate() -> None:
    growth = trend(*((at, 1000 + 3 * at) for at in range(0, 3600, 300))).growth()
    assert growth is not None
    assert growth.rate == pytest.approx(3.0)
    assert growth.seconds == 3300


def test_a_short_time_says_nothing() -> None:
    assert Trend().growth() is None
    assert trend((0, 1)).growth() is None
    assert trend((0, 1), (LEAST_SECONDS - 1, 2)).growth() is None
    assert trend((0, 1), (LEAST_SECONDS, 2)).growth() is not None


def test_what_may_be_the_error_is_no_growth() -> None:
    points = [(float(at), 1e6 + at) for at in range(0, 3600, 300)]
    assert trend(*points, error=1e5).growth() is None
    assert trend(*points, error=100).growth() is not None


def test_what_does_not_change_grows_by_0() -> None:
    assert trend((0, 5), (2000, 5)).growth() == Growth(0.0, 2000.0)


@given(st.lists(st.floats(1, 5000), min_size=1, max_size=400))
def test_a_trend_has_few_points_of_one_day(pauses: list[float]) -> None:
    known, at = Trend(), 0.0
    for pause in pauses:
        at += pause
        known.add(at, 7.0)
    growth = known.growth()
    assert growth is None or (growth.seconds <= 86_400 and growth.rate == pytest.approx(0, abs=1e-9))


def test_a_day_in_five_minutes_keeps_the_whole_day() -> None:
    growth = trend(*((at, 2.0 * at) for at in range(0, 5 * 86_400, 300))).growth()
    assert growth is not None
    assert growth.rate == pytest.approx(2.0)
    assert 43_200 <= growth.seconds <= 86_400


@pytest.mark.parametrize(
    ("node", "seconds"),
    [
        (NodeMemory(600, 1000, 0, Growth(2.0, 3600)), 200.0),
        (NodeMemory(1200, 1000, 0, Growth(2.0, 3600)), 0.0),
        (NodeMemory(600, None, 0, Growth(2.0, 3600)), None),
        (NodeMemory(600, 1000, 0, Growth(-2.0, 3600)), None),
        (NodeMemory(600, 1000, 0), None),
    ],
)
def test_when_a_node_is_full(node: NodeMemory, seconds: float | None) -> None:
    assert node.full_in == seconds
