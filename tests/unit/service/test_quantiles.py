from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.quantiles import quantile


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50), st.floats(0, 1))
def test_it_is_the_smallest_value_that_the_share_does_not_exceed(values: list[float], share: float) -> None:
    value = quantile(values, share)
    assert value in values
    assert sum(other <= value for other in values) >= share * len(values)
    assert all(
        sum(other <= smaller for other in values) < share * len(values)
        for smaller in values
        if smaller < value
    )


def test_nothing_has_no_quantile() -> None:
    assert quantile([], 0.9) is None
    assert quantile(range(1, 11), 0.9) == 9
    assert quantile([5.0], 0.0) == 5.0
