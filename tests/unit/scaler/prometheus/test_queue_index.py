"""Which queues a target serves, as `matching` finds them by looking at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scaler.config.settings import matching
from scaler.prometheus.promql import QueueKey
from scaler.prometheus.queue_index import QueueIndex

NAMES = st.text("ab-*?[]!", min_size=1, max_size=5)


@given(
    keys=st.sets(st.tuples(st.sampled_from(["bull", "other"]), NAMES), max_size=20),
    targets=st.lists(st.lists(NAMES, min_size=1, max_size=4).map(tuple), max_size=5),
)
def test_the_same_queues_as_by_looking_at_all(
    keys: set[tuple[str, str]], targets: list[tuple[str, ...]]
) -> None:
    index = QueueIndex([QueueKey(*key) for key in keys])
    for patterns in (*targets, *targets):
        there = [name for prefix, name in keys if prefix == "bull"]
        assert [key.name for key in index.matching("bull", patterns)] == matching(patterns, there)
        assert all(key.prefix == "bull" for key in index.matching("bull", patterns))


def test_it_is_kept_while_the_queues_are_the_same() -> None:
    a, b = QueueKey("bull", "mail-a"), QueueKey("bull", "mail-b")
    index = QueueIndex([a])
    assert index.of({a: 1}.keys()) is index
    assert index.matching("bull", ("mail-*",)) == (a,)
    assert index.of({b: 1, a: 1}.keys()).matching("bull", ("mail-*",)) == (a, b)
    assert index.of(()).matching("bull", ("mail-*",)) == ()
