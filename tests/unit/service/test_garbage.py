from __future__ import annotations

import gc
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from service.garbage import GarbageCollection


@pytest.fixture(autouse=True)
def own_collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_what_there_is_at_the_start_is_searched_no_more() -> None:
    GarbageCollection(25).begin()
    assert gc.get_freeze_count() > 1000
    assert gc.get_threshold()[0] == 50_000


def test_what_is_kept_of_queues_is_searched_no_more_once_it_is_there() -> None:
    garbage = GarbageCollection(25)
    kept: list[list[int]] = []
    garbage.begin()
    before = gc.get_freeze_count()
    for _ in range(2):
        kept += [[] for _ in range(1000)]
        garbage.round_done(10_000)
        assert gc.get_freeze_count() <= before
    garbage.round_done(10_000)
    assert gc.get_freeze_count() >= before + 2000
    assert gc.get_threshold()[0] == 250_000


def test_it_costs_nothing_while_hardly_more_queues_are_known() -> None:
    garbage = GarbageCollection(25)
    for _ in range(3):
        garbage.round_done(100)
    kept = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    before = gc.get_freeze_count()
    for queues in (100, 150, 0, 120):
        garbage.round_done(queues)
    assert gc.get_freeze_count() <= before
    for _ in range(3):
        garbage.round_done(151)
    assert gc.get_freeze_count() >= before + len(kept)


def test_a_cycle_of_garbage_is_freed_before() -> None:
    class Node:
        other: Node

    first, second = Node(), Node()
    first.other, second.other = second, first
    del first, second
    GarbageCollection(25).begin()
    gc.unfreeze()
    assert not [found for found in gc.get_objects() if type(found).__name__ == "Node"]


@pytest.mark.parametrize("missing", [OSError("no libc"), AttributeError("malloc_trim")])
def test_a_c_library_that_gives_no_memory_back_is_no_error(
    monkeypatch: pytest.MonkeyPatch, missing: Exception
) -> None:
    def library(_: None) -> None:
        raise missing

    monkeypatch.setattr("ctypes.CDLL", library)
    GarbageCollection(25).begin()
    assert gc.get_threshold()[0] == 50_000


def test_memory_is_given_back_when_what_stays_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[int] = []
    monkeypatch.setattr("ctypes.CDLL", lambda _: SimpleNamespace(malloc_trim=trimmed.append))
    garbage = GarbageCollection(25)
    garbage.begin()
    for _ in range(9):
        garbage.round_done(100)
    assert trimmed == [0, 0], "at the start, and once after the queues were found"
