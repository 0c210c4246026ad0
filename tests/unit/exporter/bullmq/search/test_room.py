from __future__ import annotations

import pytest

from exporter.bullmq.search import room as room_module
from exporter.bullmq.search.room import Room
from exporter.snapshot.queues import QueueId

MAIL = QueueId("bull", "mail")


def customer(number: int) -> QueueId:
    return QueueId("bull", f"customer-{number}")


def test_places_of_named_queues_are_kept_for_them() -> None:
    room = Room(3, {MAIL}.__contains__, reserved=1)
    room.take(customer(1))
    room.take(customer(2))
    assert (room.refusal(customer(3)), room.refusal(MAIL)) == ("max_queues", None)
    room.take(MAIL)
    assert room.refusal(MAIL) == "max_queues"
    room.give_back(MAIL)
    assert room.refusal(customer(3)) == "max_queues"
    room.give_back(customer(1))
    assert room.refusal(customer(3)) is None


def test_what_is_left_out_is_counted_once_and_in_each_search_anew() -> None:
    room = Room(0)
    room.begin_search()
    for number in (1, 2, 2):
        room.leave_out(customer(number), "max_queues")
    assert room.left_out()["max_queues"].number == 2
    room.end_search()
    room.begin_search()
    assert room.stays_out(customer(1))
    assert not room.stays_out(customer(3)), "it may be no queue"
    assert room.left_out()["max_queues"].number == 2, "while the search goes on"
    room.end_search()
    room.end_search()  # of the same search
    assert room.left_out()["max_queues"].number == 1
    room.begin_search()
    room.end_search()
    assert room.left_out()["max_queues"].number == 0


def test_what_has_a_place_now_does_not_stay_out() -> None:
    room = Room(1)
    room.take(MAIL)
    room.leave_out(customer(1), "max_queues")
    assert room.stays_out(customer(1))
    room.give_back(MAIL)
    assert not room.stays_out(customer(1))
    room.take(customer(1))
    assert room.left_out()["max_queues"].number == 0


@pytest.mark.fault
def test_what_is_counted_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "MOST_COUNTED", 10)
    room = Room(0)
    for number in range(11):
        room.leave_out(customer(number), "max_queues")
    left = room.left_out()["max_queues"]
    assert (left.number, left.more, len(left.first)) == (10, True, 5)
    assert room.stays_out(customer(99)), "nobody counts any more, so nobody reads it"


def test_without_a_maximum_there_is_always_a_place() -> None:
    room = Room()
    for number in range(100):
        room.take(customer(number))
    assert room.refusal(MAIL) is None
