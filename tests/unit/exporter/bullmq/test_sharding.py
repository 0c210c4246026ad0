"""The division of queues over exporters: each has one shard, they are balanced, and it never changes."""

from __future__ import annotations

from collections import Counter
from itertools import starmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.sharding import owns, shard_number
from exporter.config.shard import QueueShard
from exporter.snapshot.queues import QueueId

NAMES = st.text(min_size=1, max_size=30)


@given(prefix=NAMES, name=NAMES, count=st.integers(1, 50))
def test_each_queue_is_of_exactly_one_shard(prefix: str, name: str, count: int) -> None:
    queue = QueueId(prefix, name)
    owners = [number for number in range(1, count + 1) if owns(QueueShard(number, count), queue)]
    assert owners == [shard_number(queue, count)]


@given(prefix=NAMES, middle=NAMES, name=NAMES, count=st.integers(2, 20))
def test_one_base_key_is_one_queue_however_its_prefix_is_read(
    prefix: str, middle: str, name: str, count: int
) -> None:
    assert shard_number(QueueId(f"{prefix}:{middle}", name), count) == shard_number(
        QueueId(prefix, f"{middle}:{name}"), count
    )


@given(prefix=NAMES, name=NAMES, count=st.integers(1, 50))
def test_one_more_shard_takes_queues_and_moves_no_others(prefix: str, name: str, count: int) -> None:
    queue = QueueId(prefix, name)
    assert shard_number(queue, count + 1) in (shard_number(queue, count), count + 1)


@pytest.mark.parametrize("form", ["q{}", "{{shop}}:q{}", "tenant-{}-mail", "{}"])
@pytest.mark.parametrize("count", [2, 3, 5, 16])
def test_shards_are_balanced(form: str, count: int) -> None:
    """Also where a hash tag puts all queues into one slot. Six standard deviations of 10,000 dice."""
    sizes = Counter(shard_number(QueueId("bull", form.format(number)), count) for number in range(10_000))
    mean = 10_000 / count
    assert sizes.keys() == set(range(1, count + 1))
    assert max(abs(size - mean) for size in sizes.values()) < 6 * (mean * (1 - 1 / count)) ** 0.5


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_shard_is_no_slot(count: int) -> None:
    """Names with one hash tag share a slot, and not a shard."""
    assert len({shard_number(QueueId("{bull}", f"q{number}"), count) for number in range(60)}) == count


def test_the_division_is_that_of_every_release() -> None:
    """Golden values: another division would begin the counters of all queues again in all deployments."""
    queues = starmap(
        QueueId,
        [
            ("bull", "mail"),
            ("bull", "{mail}"),
            ("{bull}", "mail"),
            ("a:b", "c"),
            ("bull", "Größe \udcff"),
            ("", "x"),
        ],
    )
    numbers = [[shard_number(queue, count) for count in (1, 2, 3, 5, 8, 100)] for queue in queues]
    assert numbers == [
        [1, 1, 3, 3, 7, 9],
        [1, 2, 2, 2, 2, 9],
        [1, 2, 2, 2, 6, 6],
        [1, 2, 2, 4, 7, 30],
        [1, 2, 2, 5, 8, 8],
        [1, 2, 2, 2, 8, 94],
    ]
