from __future__ import annotations

import base64
import time
from fnmatch import fnmatchcase
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.keys import (
    base as base_of,
)
from exporter.bullmq.keys import (
    candidate_of,
    is_pattern,
    is_python_name,
    is_selected,
    is_tagged,
    scan_pattern,
    slot_of,
    worker_queues,
)
from exporter.snapshot.queues import QueueId

MAIL = QueueId("bull", "mail")
WORDS = st.text(st.characters(exclude_characters=":", codec="utf-8"), min_size=1)


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        ("123456789", 12739),  # the check value of the Redis Cluster specification
        ("foo", 12182),
        ("{foo}.bar", 12182),
        ("a{foo}{bar}", 12182),
        ("bull:{foo}:wait", 12182),
        ("{}foo", 9500),
        ("", 0),
    ],
)
def test_slots(key: str, slot: int) -> None:
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    ("prefix", "name", "tagged"),
    [
        ("bull", "mail", False),
        ("bull", "{mail}", True),
        ("{bull}", "mail", True),
        ("bull", "a{b}c", True),
        ("bull", "{}", False),
        ("bull", "{}{b}", False),
        ("bull", "{mail", False),
        ("bull", "}mail{", False),
        ("b{ull", "ma}il", True),  # the tag is `ull:ma`: the same in all keys of the queue
    ],
)
def test_only_a_hash_tag_keeps_a_queues_keys_together(prefix: str, name: str, tagged: bool) -> None:  # noqa: FBT001
    queue = QueueId(prefix, name)
    assert is_tagged(queue) is tagged
    suffixes = ["wait", "active", "meta", "events", "1", "2", "3"]
    assert (len({slot_of(base_of(queue) + suffix) for suffix in suffixes}) == 1) is tagged


@pytest.mark.parametrize(
    ("key", "queue"),
    [
        ("bull:mail:meta", ("bull", "mail")),
        ("bull:shop:mail:meta", ("bull", "shop:mail")),
        ("shop:eu:mail:meta", ("shop:eu", "mail")),
        ("shop:us:mail:meta", ("shop", "us:mail")),
        ("bull:meta:meta", ("bull", "meta")),
        ("bull::meta", None),
        ("bull:meta", None),
        ("bull:mail:events", None),
        ("other:mail:meta", None),
        ("bullish:mail:meta", None),
    ],
)
def test_a_meta_key_names_its_queue(key: str, queue: tuple[str, str] | None) -> None:
    assert candidate_of(key, ("bull", "shop", "shop:eu")) == queue


@given(st.text(min_size=1), st.text(min_size=1))
def test_every_queues_meta_key_leads_back_to_it(prefix: str, name: str) -> None:
    queue = QueueId(prefix, name)
    assert candidate_of(base_of(queue) + "meta", [prefix]) == queue


def encoded(name: str) -> str:
    return base64.b64encode(name.encode()).decode()


@given(WORDS, st.sampled_from(["", ":w:anna", ":w:a:b"]))
def test_a_workers_connection_names_its_queue(name: str, worker: str) -> None:
    assert worker_queues(f"bull:{encoded(name)}{worker}", ["bull"])[0] == ("bull", name)
    assert worker_queues(f"shop:eu:{encoded(name)}{worker}", ["shop", "shop:eu"])[0] == ("shop:eu", name)


@pytest.mark.parametrize(
    "name", ["bull:bWFpbA==:qe", "bull:bWFpbA==:qs", "other:bWFpbA==", "bull", "bull:", ""]
)
def test_other_connections_are_no_workers(name: str) -> None:
    assert worker_queues(name, ["bull"]) == ()


def test_python_writes_the_queues_name_as_it_is() -> None:
    assert worker_queues("bull:pyq:w:pw", ["bull"]) == (("bull", "pyq"),)
    assert worker_queues("bull:shop:mail", ["bull"]) == (("bull", "shop:mail"),)
    assert worker_queues("bull:bWFpbA==", ["bull"]) == (("bull", "mail"), ("bull", "bWFpbA=="))
    assert is_python_name("bull:pyq:w:pw", QueueId("bull", "pyq"))
    assert is_python_name("bull:mail", MAIL)
    assert not is_python_name("bull:bWFpbA==", MAIL)


def test_glob_characters_of_a_prefix_are_escaped() -> None:
    assert scan_pattern(["bull"]) == "bull:*:[im]*[da]"
    assert scan_pattern(["a*b?[c]^d\\-"]) == r"a\*b\?\[c\]\^d\\\-:*:[im]*[da]"
    assert scan_pattern(["bull", "shop"]) == scan_pattern([]) == "*:[im]*[da]"


@pytest.mark.parametrize("key", ["bull:mail:meta", "bull:mail:id", "{bull}:a:b:id"])
def test_one_pattern_matches_the_keys_of_both_libraries(key: str) -> None:
    assert fnmatchcase(key, scan_pattern([]))


@pytest.mark.parametrize(
    ("name", "entries", "selected"),
    [
        ("mail", (), True),
        ("mail", ("mail",), True),
        ("mails", ("mail",), False),
        ("mails", ("mail*",), True),
        ("Mail", ("mail",), False),
        ("a[1]", ("a[1]",), True),
        ("a1", ("a[12]",), True),
        ("orders", ("mail", "o?ders"), True),
        ("orders", ("mail", "x*"), False),
    ],
)
def test_names_and_patterns(name: str, entries: tuple[str, ...], selected: bool) -> None:  # noqa: FBT001
    assert is_selected(QueueId("bull", name), entries) is selected


@pytest.mark.fault
@pytest.mark.parametrize(
    "pattern", ["*a" * 40 + "b", "a*" * 60 + "b", "*" * 200 + "b", "[a-z]*" * 40 + "0", "?*" * 50 + "b"]
)
def test_no_pattern_takes_long_on_a_long_name(pattern: str) -> None:
    started = process_time()
    assert not is_selected(QueueId("bull", "a" * 4096), [pattern])
    assert process_time() - started < 2.0, "else each name of a search would hold it up"


def test_what_is_a_pattern() -> None:
    assert [is_pattern(text) for text in ("mail", "m*", "m?", "[m]", "{m}")] == [
        False,
        True,
        True,
        True,
        False,
    ]


@pytest.mark.fault
@pytest.mark.parametrize(
    "pattern", ["*a*a*a*a*a*a*a*a*a*b", "[!b]*[!b]*[!b]*[!b]*b", "?*?*?*?*?*?*?*b", "*" * 200 + "b"]
)
def test_no_name_makes_a_pattern_of_the_settings_slow(pattern: str) -> None:
    begun = time.process_time()
    for number in range(20):
        assert not is_selected(QueueId("bull", f"{number}{'a' * 4096}"), (pattern,))
    assert time.process_time() - begun < 5
