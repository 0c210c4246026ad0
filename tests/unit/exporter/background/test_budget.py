from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.background.budget import MAX_SLOWDOWN, NodeUse, next_slowdown, used_seconds

SECONDS = st.floats(0, 20, allow_nan=False)


@pytest.mark.parametrize(
    ("cpu", "under_way", "used"),
    [
        (0.5, 0.5, 0.5),  # alone on the node
        (0.5, 0.9, 0.5),  # alone, and the answers arrived late: the node did no more than this
        (5.0, 0.2, 0.2),  # others are served in between: at most all of it was ours
        (0.0, 0.3, 0.0),
        (None, 0.3, 0.3),
    ],
)
def test_what_was_used_at_most(cpu: float | None, under_way: float, used: float) -> None:
    assert used_seconds(NodeUse(cpu, {"discovery": under_way})) == {"discovery": pytest.approx(used)}


@given(SECONDS, st.dictionaries(st.sampled_from("abc"), SECONDS))
def test_it_is_never_more_than_the_node_used_nor_than_the_time_under_way(
    cpu: float, under_way: dict[str, float]
) -> None:
    used = used_seconds(NodeUse(cpu, under_way))
    assert used.keys() == under_way.keys()
    assert 0 <= sum(used.values()) <= cpu + 1e-9
    assert all(used[part] <= seconds + 1e-9 for part, seconds in under_way.items())


def test_each_part_has_its_share() -> None:
    used = used_seconds(NodeUse(0.4, {"a": 0.3, "b": 0.1}))
    assert used == {"a": pytest.approx(0.3), "b": pytest.approx(0.1)}


def test_it_slows_down_until_the_budget_is_kept_and_recovers() -> None:
    slowdown, paces = 1.0, []
    for need in [0.5, 3.0, 3.0, 3.0, 0.5, 0.5, 0.5]:
        slowdown = next_slowdown(slowdown, need / slowdown)
        paces.append(slowdown)
    assert paces == [1.0, 3.0, pytest.approx(3.0), pytest.approx(3.0), 1.0, 1.0, 1.0]


@given(st.floats(1, MAX_SLOWDOWN), st.floats(0, 1e6))
def test_it_has_bounds(before: float, used: float) -> None:
    assert 1.0 <= next_slowdown(before, used) <= MAX_SLOWDOWN
