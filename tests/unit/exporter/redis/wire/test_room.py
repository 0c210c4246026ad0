from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from exporter.redis.wire.room import NoRoomError, ReplyRoom
from lab.deadline import wait_until
from service.clock import Deadline

pytestmark = pytest.mark.fault


def soon() -> Deadline:
    return Deadline.after(0.02)


def later() -> Deadline:
    return Deadline.after(20)


def test_who_is_alone_gets_more_than_there_is() -> None:
    room = ReplyRoom(100)
    room.take(150, 0, soon())
    room.take(50, 150, soon())
    assert room.taken == 200
    room.give_back(200)
    room.give_back(0)
    assert room.taken == 0


def test_who_finds_no_room_waits_until_its_deadline() -> None:
    room = ReplyRoom(100)
    room.take(100, 0, soon())
    with pytest.raises(TimeoutError):
        room.take(1, 0, soon())
    assert room.taken == 100


def test_who_waits_gets_what_is_given_back() -> None:
    room = ReplyRoom(100)
    room.take(100, 0, later())
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(room.take, 50, 0, later()) for _ in range(2)]
        room.give_back(100)
        for each in waiting:
            each.result(timeout=20)
    assert room.taken == 100


def test_who_was_told_of_room_and_has_not_looked_yet_does_not_count_as_waiting() -> None:
    room = ReplyRoom(100)
    room.take(40, 0, later())
    room.take(60, 0, later())
    with ThreadPoolExecutor() as pool:
        grows = pool.submit(room.take, 50, 40, later())
        wait_until(lambda: len(room._waiting) == 1, what="it waits")
        with room._changed:  # nobody looks meanwhile
            room.give_back(60)
            with pytest.raises(TimeoutError):  # which waits, until it is late
                room.take(70, 0, Deadline.after(0.2))
        grows.result(timeout=20)
    assert room.taken == 90


def test_where_all_would_wait_for_each_other_one_is_refused_and_the_others_go_on() -> None:
    room = ReplyRoom(100)
    all_hold = threading.Barrier(10)

    def reply() -> bool:
        room.take(10, 0, later())
        all_hold.wait(20)
        held = 10
        try:
            for _ in range(9):
                room.take(10, held, later())
                held += 10
        except NoRoomError:
            return False
        finally:
            room.give_back(held)
        return True

    with ThreadPoolExecutor(10) as pool:
        outcomes = [future.result(timeout=20) for future in [pool.submit(reply) for _ in range(10)]]
    assert any(outcomes)
    assert not all(outcomes)
    assert room.taken == 0


def test_memory_is_given_back_once_after_much_of_it_was_taken() -> None:
    room = ReplyRoom(100)
    room.take(12, 0, soon())
    room.give_back(12)
    assert not room.was_emptied()
    room.take(40, 0, soon())
    room.take(40, 0, soon())
    room.give_back(40)
    assert not room.was_emptied()
    room.give_back(40)
    assert room.was_emptied()
    assert not room.was_emptied()
