"""Which connection has to go."""

from __future__ import annotations

from typing import get_args

from service.web.connections.traffic import HTTP_REFUSALS, HttpRefusal, Occupation, Traffic


def test_each_reason_has_its_meaning() -> None:
    assert tuple(HTTP_REFUSALS) == get_args(HttpRefusal)


def test_a_new_one_takes_the_place_of_the_oldest_of_the_largest_group() -> None:
    traffic = Traffic[str](4)
    traffic.enter("scraper", "10.0.0.1", 0)
    for number in range(3):
        traffic.enter(f"other-{number}", "10.0.0.2", 1 + number)
    assert traffic.surplus() is None
    traffic.enter("new", "10.0.0.3", 9)
    assert traffic.surplus() == "other-0"
    traffic.leave("other-0")
    assert traffic.surplus() is None


def test_what_moves_on_is_not_taken_for_what_stays() -> None:
    """All have the same address: the scrape goes from activity to activity, the others wait."""
    traffic = Traffic[int](100)
    for number in range(100):
        traffic.enter(number, "10.0.0.1", number)
    scrape = 1000
    occupations: tuple[Occupation, ...] = ("working", "writing", "idle", "reading", "working")
    traffic.enter(scrape, "10.0.0.1", 200)
    closed = []
    for step, occupation in enumerate(occupations):
        for number in range(20):
            surplus = traffic.surplus()
            if surplus is not None:
                closed.append(surplus)
                traffic.leave(surplus)
            traffic.enter(2000 + 20 * step + number, "10.0.0.1", 201 + step)
        traffic.move(scrape, occupation, 201 + step)
    assert scrape not in closed
    assert closed == [*range(100)]


def test_a_reader_that_gets_on_is_not_the_slowest() -> None:
    traffic = Traffic[str](2)
    for name in ("a", "b"):
        traffic.enter(name, "10.0.0.1", 0)
        traffic.move(name, "writing", 1)
    traffic.get_on("a")
    assert traffic.slowest() == "b"


def test_what_takes_too_long() -> None:
    traffic = Traffic[str](9)
    for name in ("silent", "reads", "works", "writes", "rests"):
        traffic.enter(name, "10.0.0.1", 0)
    traffic.move("reads", "reading", 5)
    traffic.move("works", "working", 0)
    traffic.move("writes", "writing", 0)
    traffic.move("rests", "idle", 0)
    assert list(traffic.overdue(10)) == []
    assert list(traffic.overdue(11)) == [("silent", "slow_request")]
    traffic.leave("silent")
    assert list(traffic.overdue(16)) == [("reads", "slow_request")]
    traffic.get_on("writes")
    assert set(traffic.overdue(31)) == {("reads", "slow_request"), ("writes", "slow_reader")}
    traffic.move("rests", "reading", 100)
    assert ("rests", "slow_request") not in list(traffic.overdue(105))


def test_what_has_left_stays_away() -> None:
    traffic = Traffic[str](9)
    traffic.enter("a", "10.0.0.1", 0)
    traffic.leave("a")
    traffic.leave("a")
    traffic.move("a", "idle", 1)
    traffic.get_on("a")
    assert len(traffic) == 0
    assert traffic.slowest() is None
