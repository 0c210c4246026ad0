"""Bytes of answers that are not taken."""

from __future__ import annotations

from service.web.connections.unsent import UnsentAnswers


def test_the_same_bytes_count_once() -> None:
    unsent = UnsentAnswers[str](1000)
    body = bytes(400)
    assert unsent.hold("a", body) == unsent.hold("b", body) == []
    assert unsent.size == 400
    unsent.release("a")
    assert unsent.size == 400
    unsent.release("b")
    unsent.release("b")
    assert unsent.size == 0


def test_the_slowest_are_given_up_for_a_new_one() -> None:
    unsent = UnsentAnswers[str](1000)
    for name in ("a", "b"):
        assert unsent.hold(name, bytes(400)) == []
    unsent.get_on("a")
    assert unsent.hold("c", bytes(400)) == ["b"]
    assert unsent.size == 800


def test_two_scrapers_get_the_largest_answers() -> None:
    unsent = UnsentAnswers[str](1000)
    assert unsent.hold("a", bytes(5000)) == unsent.hold("b", bytes(5000)) == []
    assert unsent.hold("c", bytes(5000)) == ["a"]


def test_who_holds_the_new_bytes_is_not_given_up_for_them() -> None:
    unsent = UnsentAnswers[str](1000)
    body = bytes(900)
    unsent.hold("a", body)
    unsent.hold("b", bytes(900))
    assert unsent.hold("c", body) == []
    unsent.hold("d", bytes(300))
    assert unsent.size <= 1000
