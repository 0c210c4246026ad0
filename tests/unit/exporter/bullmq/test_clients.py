from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.clients import client_names, count_workers
from exporter.snapshot import QueueId

MAIL = QueueId("bull", "mail")
NODE_MAIL = "bull:bWFpbA=="


def line(name: str, number: int = 7) -> str:
    return f"id={number} addr=127.0.0.1:5{number} fd=8 name={name} age=4 idle=0 flags=N db=0 cmd=info"


def listing(*names: str) -> bytes:
    return "".join(line(name, number) + "\n" for number, name in enumerate(names)).encode(
        "utf-8", "surrogateescape"
    )


def test_only_names_that_could_be_workers() -> None:
    raw = listing("", "exporter", NODE_MAIL, "bull:bWFpbA==:w:anna", NODE_MAIL, "bull:", ":x", "bull:\udcff")
    assert client_names(raw) == {
        NODE_MAIL: 2,
        "bull:bWFpbA==:w:anna": 1,
        "bull:\udcff": 1,
    }


@pytest.mark.parametrize("raw", [b"", b"\n", b"name=bull:x", b"id=1 name=bull:bWFpbA==", b"name= name=\n"])
def test_what_is_no_client_list(raw: bytes) -> None:
    assert client_names(raw) == {}


@given(st.binary())
def test_any_answer_can_be_read(raw: bytes) -> None:
    assert all(count > 0 for count in client_names(raw).values())


@pytest.mark.parametrize(
    ("names", "workers"),
    [
        ({NODE_MAIL: 2}, 2),
        ({NODE_MAIL: 1, "bull:bWFpbA==:w:anna": 1, "bull:bWFpbA==:w:bob": 1}, 3),
        ({"bull:mail": 2}, 1),  # a Python worker names both of its connections
        ({"bull:mail:w:anna": 4}, 2),
        ({"bull:mail": 1}, 1),  # the second is not there yet, or lost
        ({"bull:mail": 2, NODE_MAIL: 3}, 4),
    ],
)
def test_workers_of_a_queue(names: dict[str, int], workers: int) -> None:
    assert count_workers([names], ("bull",), ()) == {MAIL: workers}


def test_the_node_that_sees_most_of_them_counts() -> None:
    other = "bull:c21z"  # sms
    seen = count_workers([{NODE_MAIL: 1}, {NODE_MAIL: 3, other: 1}, {other: 2}, {}], ("bull",), ())
    assert seen == {MAIL: 3, QueueId("bull", "sms"): 2}


def test_listeners_of_events_are_no_workers() -> None:
    assert count_workers([{NODE_MAIL + ":qe": 5, "bull:mail:qe": 1, "exporter": 1}], ("bull",), ()) == {}


def test_a_name_that_could_be_two_queues_is_the_one_that_is_known() -> None:
    # "mail" in Node's way, or the queue "bWFpbA==" in Python's.
    odd = QueueId("bull", "bWFpbA==")
    assert count_workers([{NODE_MAIL: 2}], ("bull",), {odd}) == {odd: 1}
    assert count_workers([{NODE_MAIL: 2}], ("bull",), {MAIL, odd}) == {MAIL: 2}
    assert count_workers([{NODE_MAIL: 2}], ("bull",), set()) == {MAIL: 2}


def test_prefixes_are_told_apart() -> None:
    names = {"shop:eu:bWFpbA==": 1, "shop:bWFpbA==": 2, "other:bWFpbA==": 4}
    assert count_workers([names], ("shop", "shop:eu"), ()) == {
        QueueId("shop:eu", "mail"): 1,
        QueueId("shop", "mail"): 2,
    }


def test_no_node_no_workers() -> None:
    assert count_workers([], ("bull",), {MAIL}) == {}
