"""Queues by what was measured: the worst few, and all of them, are as if all were put in order."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from exporter.conditions.finding import by_value
from exporter.snapshot.queues import QueueId

ENDS = st.none() | st.integers(-40, 40)


@given(
    st.dictionaries(st.integers(0, 60), st.floats(1, 9), max_size=60)
    | st.just({n: float(n) for n in range(30)}),
    ENDS,
    ENDS,
    st.sampled_from([None, 1, 2, -1]),
)
@example({number: float(number) for number in range(30)}, -17, 5, None)
def test_the_worst_few_are_those_of_all(
    values: dict[int, float], start: int | None, stop: int | None, step: int | None
) -> None:
    measured = {QueueId("bull", f"q{number}"): value for number, value in values.items()}
    expected = sorted(measured, key=lambda queue: (-measured[queue], queue))
    some = slice(start, stop, step)
    assert list(by_value(measured)[some]) == expected[some]
    assert list(by_value(measured)) == expected
