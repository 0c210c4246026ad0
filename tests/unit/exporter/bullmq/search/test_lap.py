from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest

from exporter.bullmq.search import lap as module
from exporter.bullmq.search.lap import Lap, LapPart
from exporter.snapshot.queues import QueueId


def queues(count: int) -> list[QueueId]:
    return [QueueId("bull", f"queue-{number:05d}") for number in range(count)]


def parts_of(lap: Lap) -> list[LapPart]:
    """Those of one lap."""
    lap.begin(at=0.0, seconds=10.0)
    parts: list[LapPart] = []
    while not lap.done:
        part = lap.take()
        assert part is not None
        parts.append(part)
    return parts


@pytest.mark.parametrize("count", [0, 1, 250, 251, 1000, 1001, 9_999])
def test_each_lap_confirms_all_queues_and_three_laps_read_all(count: int) -> None:
    """Of a thousand or fewer each lap reads all."""
    lap, every = Lap(), queues(count)
    lap.divide(every, every, [])
    read: list[QueueId] = []
    laps = [parts_of(lap) for _ in range(3 if count > 1000 else 1)]
    for parts in laps:
        assert [queue for part in parts for queue in part.confirmed] == every
        assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
        read += [queue for part in parts for queue in part.read]
        assert all(part.together == sum(len(each.read) for each in parts) for part in parts)
        assert all(len(part.read) <= 250 and len(part.confirmed) <= 2000 for part in parts)
    assert sorted(read) == every


def test_some_are_read_in_each_lap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANY", 10)
    lap, every = Lap(), queues(30)
    lap.divide(every, every, every[:4])
    for _ in range(4):
        read = [queue for part in parts_of(lap) for queue in part.read]
        assert len(read) == len(set(read))
        assert set(every[:4]) <= set(read)


def test_a_queue_has_its_turn_whichever_come_or_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its place among the others it would wait for two laps more when one before it goes."""
    monkeypatch.setattr(module, "MANY", 10)
    lap, every = Lap(), queues(60)
    read: list[QueueId] = []
    for number in range(3):
        lap.divide(every[number:], every[number:], [])
        read += [queue for part in parts_of(lap) for queue in part.read]
    assert set(every[2:]) <= set(read)


def test_the_parts_are_spread_over_the_interval() -> None:
    lap, every = Lap(), queues(10_000)
    lap.divide(every, every, [])
    lap.begin(at=100.0, seconds=10.0)
    dues: list[float] = []
    while not lap.done:
        dues.append(lap.due)
        lap.take()
    assert dues[0] == 100.0
    assert 108.0 < dues[-1] < 109.0
    pauses = [after - before for before, after in pairwise(dues)]
    assert pauses == [pytest.approx(pauses[0])] * len(pauses)
    assert lap.due == inf
    assert lap.take() is None


def test_what_has_changed_is_read_first() -> None:
    lap, every = Lap(), queues(500)
    lap.divide(every, every, [])
    lap.begin(at=0.0, seconds=10.0)
    lap.take()
    lap.read_first(every[:300])
    assert lap.due == -inf
    first = [lap.take(), lap.take()]
    assert [queue for part in first if part for queue in part.read] == every[:300]
    assert [part and (part.confirmed, part.together, part.last) for part in first] == [((), 300, False)] * 2
    assert lap.due == 4.5
    lap.drop()
    assert lap.done
