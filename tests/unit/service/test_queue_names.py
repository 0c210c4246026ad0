from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.queue_names import queues_meant, shown_names, without_tag

KNOWN = [
    ("bull", "mail"),
    ("app", "mail"),
    ("bull", "{notifications}"),
    ("bull:eu", "orders"),
    ("{app}", "x"),
]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("notifications", [("bull", "{notifications}")]),
        ("{notifications}", [("bull", "{notifications}")]),
        ("bull:notifications", [("bull", "{notifications}")]),
        ("orders", [("bull:eu", "orders")]),
        ("bull:eu:orders", [("bull:eu", "orders")]),
        ("mail", [("app", "mail"), ("bull", "mail")]),
        ("bull:mail", [("bull", "mail")]),
        ("app:x", [("{app}", "x")]),
        ("eu:orders", []),
        ("Mail", []),
        ("", []),
    ],
)
def test_which_queues_a_name_means(name: str, meant: list[tuple[str, str]]) -> None:
    assert queues_meant(name, KNOWN) == meant


def test_the_exact_name_comes_first() -> None:
    assert queues_meant("mail", [("bull", "{mail}"), ("bull", "mail")]) == [("bull", "mail")]


def test_several_are_shown_so_that_each_is_unambiguous() -> None:
    meant = queues_meant("mail", KNOWN)
    assert shown_names(meant) == "app:mail, bull:mail"
    for each in meant:
        assert queues_meant(shown_names([each]), KNOWN) == [each]


@pytest.mark.parametrize(
    ("name", "text"),
    [("{mail}", "mail"), ("a{b}c", "abc"), ("{}", "{}"), ("{a", "{a"), ("}a{", "}a{"), ("a", "a")],
)
def test_names_without_their_tag(name: str, text: str) -> None:
    assert without_tag(name) == text


@given(st.tuples(st.text(min_size=1), st.text(min_size=1)))
def test_every_queue_is_found_by_its_name(queue: tuple[str, str]) -> None:
    assert queues_meant(queue[1], [queue]) == queues_meant(":".join(queue), [queue]) == [queue]
