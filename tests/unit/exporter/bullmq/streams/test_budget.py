from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.streams.budget import (
    BATCH,
    BUDGET,
    MAX_ENTRY,
    NodeSearch,
    StreamSize,
    alike,
    groups,
    may_begin_large,
    needed_length,
)
from exporter.bullmq.streams.events import Entry

MB = 1_000_000
BASE = 30_000


def usage(nodes: list[int], samples: int) -> int:
    """MEMORY USAGE of a stream with these nodes, as Redis computes it."""
    sampled = nodes[:samples]
    if len(nodes) <= samples:
        return BASE + sum(sampled)
    return BASE + sum(sampled) // len(sampled) * (len(nodes) - 1) + nodes[-1]


def search(nodes: list[int]) -> NodeSearch:
    found = NodeSearch(len(nodes))
    while found.wanted:
        found.learn([usage(nodes, samples) for samples in found.wanted])
    return found


def entries(*sizes: int) -> list[Entry]:
    return [[b"1-%d" % number, [b"x" * size]] for number, size in enumerate(sizes)]


def measured(memory: int, *, read_at: int | None = None) -> StreamSize:
    size = StreamSize()
    if read_at is not None:
        size.memory = read_at
        size.all_read()
    size.memory = memory
    return size


def test_what_is_small_is_read_in_whole_batches() -> None:
    assert measured(150_000).share(BUDGET, 0)[0] == BATCH
    assert measured(600_000).share(BUDGET, 0)[0] == 1000
    assert measured(50 * MB, read_at=49_900_000).share(BUDGET, 0)[0] == BATCH
    assert not measured(50 * MB, read_at=49 * MB).needs_search


def test_of_what_is_large_one_entry_is_read_until_more_is_known() -> None:
    size = measured(50 * MB)
    assert size.needs_search
    assert size.share(BUDGET, 0)[0] == 1
    size.searched(60)
    assert not size.needs_search
    assert size.share(BUDGET, 0)[0] == 60
    size.memory = 55 * MB
    assert size.needs_search


def test_without_a_measure_the_largest_of_late_counts() -> None:
    size = StreamSize()
    assert size.unread is None
    assert size.share(BUDGET, 0)[0] == 1
    for _ in range(5):
        size.took(entries(100), asked=1)
    assert 1 < size.share(BUDGET, 0)[0] < 50
    size.took(entries(100, 3 * MB), asked=2)
    assert size.share(BUDGET, 0)[0] == 1


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 100 * MB)), max_size=40),
    st.integers(64_000, BUDGET),
)
def test_a_group_is_within_the_budget_or_one_stream(memories: list[int | None], budget: int) -> None:
    sizes = []
    for number, memory in enumerate(memories):
        size = StreamSize()
        size.memory = memory
        sizes.append((number, size, 0))
    seen = []
    for group in groups(sizes, budget, 0):
        costs = [sizes[number][1].share(budget, 0)[1] for number, _ in group]
        assert len(group) == 1 or sum(costs) <= budget
        seen += [number for number, _ in group]
    assert seen == list(range(len(memories)))


@given(st.lists(st.sampled_from([500, 4_000, 90_000, MB, 5 * MB, 6_900_000]), min_size=2, max_size=400))
def test_no_answer_of_as_many_entries_as_were_found_is_too_large(nodes: list[int]) -> None:
    found = search(nodes)
    assert not found.too_large or max(nodes[:-1]) + (BASE + nodes[-1]) // (len(nodes) - 1) > MAX_ENTRY
    inner = nodes[:-1]
    for start in range(len(inner)):
        assert sum(inner[start : start + found.count]) <= max(MAX_ENTRY, *inner)


@given(
    st.lists(st.sampled_from([500, 4_000, 90_000, 3 * MB]), min_size=1, max_size=300),
    st.integers(0, 299),
    st.integers(8 * MB, 500 * MB),
)
def test_an_entry_that_is_too_large_is_always_found(nodes: list[int], place: int, giant: int) -> None:
    """But for one in the last node, which is reported as unknown."""
    nodes.insert(min(place, len(nodes)), giant)
    found = search(nodes)
    assert found.too_large or (nodes[-1] == giant and found.last_unknown) or len(nodes) == 1


def test_the_last_node_is_known_by_the_first_entry() -> None:
    found = search([4_000] * 10 + [40 * MB])
    assert found.last_unknown
    assert found.last_at_least(60) > MAX_ENTRY
    assert search([3 * MB] * 10).last_at_least(3 * MB) < MAX_ENTRY


def test_an_error_ends_the_search() -> None:
    found = NodeSearch(100)
    found.learn([None] * len(found.wanted))
    assert (found.wanted, found.count, found.too_large) == ([], 1, False)
    assert NodeSearch(0).wanted == []


@pytest.mark.parametrize(
    ("length", "first", "expected"),
    [(1, 15 * MB, True), (1, 13 * MB, False), (401, 42 * MB, False), (401, 60 * MB, True)],
)
def test_a_first_entry_is_bounded_by_the_length(length: int, first: int, *, expected: bool) -> None:
    assert may_begin_large(length, first) is expected


def test_alike() -> None:
    assert alike([1000, 1001, 999])
    assert not alike([1000, 2000])
    assert not alike([1000, None])
    assert not alike([])


def test_the_first_entry_as_far_as_it_is_known() -> None:
    size = measured(50 * MB)
    assert size.first_entry == 50 * MB
    size.first_node = 6 * MB
    assert size.first_entry == 6 * MB
    size.nodes = 101
    assert size.first_entry < 100_000
    assert StreamSize().first_entry == MAX_ENTRY


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 10_000), (4_000.0, 10_000), (12_657.0, 32_000)])
def test_needed_length(rate: float, expected: int) -> None:
    assert needed_length(rate) == expected
