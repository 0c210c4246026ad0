from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.capacity import Demand, share


@pytest.mark.parametrize(
    ("demands", "most", "expected"),
    [
        ([Demand("a", 5, 1), Demand("b", 3, 1)], 8, {"a": 5, "b": 3}),
        ([Demand("a", 9, 1), Demand("b", 5, 1)], 8, {"a": 5, "b": 3}),  # of 6 more two thirds and one third
        ([Demand("a", 9, 1), Demand("b", 5, 1, priority=1)], 8, {"a": 3, "b": 5}),
        ([Demand("a", 9, 6), Demand("b", 5, 1, priority=1)], 8, {"a": 6, "b": 2}),  # a's are busy
        ([Demand("a", 9, 6), Demand("b", 9, 6)], 8, {"a": 6, "b": 6}),  # nothing is taken from the busy
        ([Demand("a", 0, 2), Demand("b", 9, 0)], 8, {"a": 0, "b": 8}),
        ([], 8, {}),
    ],
)
def test_shares(demands: list[Demand], most: int, expected: dict[str, int]) -> None:
    assert share(demands, most) == expected


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(-1, 2)), max_size=8),
    st.integers(1, 60),
)
def test_nothing_is_wasted_and_nobody_gets_more_than_it_wants(
    wants: list[tuple[int, int, int]], most: int
) -> None:
    demands = [Demand(str(index), *want) for index, want in enumerate(wants)]
    granted = share(demands, most)
    least = sum(min(demand.desired, demand.least) for demand in demands)
    assert sum(granted.values()) == min(sum(demand.desired for demand in demands), max(most, least))
    for demand in demands:
        assert min(demand.desired, demand.least) <= granted[demand.name] <= demand.desired
    for high in demands:
        for low in demands:
            if high.priority > low.priority and granted[low.name] > min(low.least, low.desired):
                assert granted[high.name] == high.desired
