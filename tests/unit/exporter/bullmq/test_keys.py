from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.keys import (
    base,
    is_pattern,
    is_tagged,
    is_wanted,
    queue_of_meta,
    scan_pattern,
    slot_of,
    worker_queues,
)
from exporter.snapshot import QueueId

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=":"), min_size=1)


def encoded(name: str) -> str:
    return base64.b64encode(name.encode()).decode()


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        ("123456789", 12739),  # 0x31C3, the example of the Cluster specification
        ("", 0),
        ("foo", 12182),
        ("bar", 5061),
        ("{user1000}.following", 3443),
        ("user1000", 3443),
        ("foo{}{bar}", 8363),  # an empty tag is none: all of the key is hashed, as in the next three
        ("foo{bar", 15278),
        ("foo}bar{", 11073),
        ("{}", 15257),
    ],
)
def test_known_slots(key: str, slot: int) -> None:
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        ("bull:{mail}:wait", "mail"),
        ("{bull}:mail:wait", "bull"),
        ("{a}{b}", "a"),
        ("foo{{bar}}zap", "{bar"),
        ("a}b{c}d", "c"),
    ],
)
def test_only_the_tag_is_hashed(key: str, hashed: str) -> None:
    assert slot_of(key) == slot_of(hashed)


@pytest.mark.parametrize(
    ("prefix", "name", "tagged"),
    [("{bull}", "mail", True), ("bull", "{mail}", True), ("bull", "mail", False), ("{", "mail}", True)],
)
def test_tags(prefix: str, name: str, *, tagged: bool) -> None:
    assert is_tagged(QueueId(prefix, name)) is tagged


@given(NAMES, st.sampled_from(["wait", "meta", "{other}", "7"]))
def test_all_keys_of_a_tagged_queue_share_a_slot(name: str, suffix: str) -> None:
    queue = QueueId("{bull}", name)
    assert slot_of(base(queue) + suffix) == slot_of("bull")


@pytest.mark.parametrize(
    ("prefixes", "pattern"),
    [
        (("bull",), "bull:*:meta"),
        (("shop:eu",), "shop:eu:*:meta"),
        (("b*ll",), "b\\*ll:*:meta"),
        (("[a]?",), "\\[a\\]\\?:*:meta"),
        (("back\\slash",), "back\\\\slash:*:meta"),
        (("bull", "shop"), "*:meta"),
    ],
)
def test_one_pattern_for_all_prefixes(prefixes: tuple[str, ...], pattern: str) -> None:
    assert scan_pattern(prefixes) == pattern


@pytest.mark.parametrize(
    ("key", "prefixes", "queue"),
    [
        ("bull:mail:meta", ("bull",), ("bull", "mail")),
        ("shop:eu:mail:meta", ("shop:eu",), ("shop:eu", "mail")),
        ("shop:eu:mail:meta", ("shop", "shop:eu"), ("shop:eu", "mail")),
        ("shop:us:meta", ("shop:eu", "shop"), ("shop", "us")),
        ("bull:v4:mail:meta", ("bull",), ("bull", "v4:mail")),  # v4 and before allow a colon in a name
        ("bull:{mail}:meta", ("bull",), ("bull", "{mail}")),
        ("bull::meta", ("bull",), None),
        ("bull:meta", ("bull",), None),
        ("bull:mail:wait", ("bull",), None),
        ("bullet:mail:meta", ("bull",), None),
        ("mail:meta", ("bull", "shop"), None),
    ],
)
def test_the_queue_of_a_meta_key(key: str, prefixes: tuple[str, ...], queue: tuple[str, str] | None) -> None:
    assert queue_of_meta(key, prefixes) == queue


@given(st.sampled_from(["bull", "shop:eu", "{bull}", "b*ll"]), NAMES)
def test_a_meta_key_leads_back_to_its_queue(prefix: str, name: str) -> None:
    assert queue_of_meta(f"{prefix}:{name}:meta", (prefix,)) == QueueId(prefix, name)


@pytest.mark.parametrize(
    ("client", "names"),
    [
        ("bull:ZW1haWw=", ["email", "ZW1haWw="]),
        ("bull:ZW1haWw=:w:anna", ["email", "ZW1haWw="]),
        ("bull:ZW1haWw=:w:", ["email", "ZW1haWw="]),
        ("bull:pyq:w:pw", ["pyq"]),
        ("bull:pyq", ["pyq"]),
        ("bull:mail", ["mail"]),  # four letters are base64 too, but of bytes that are no text
        ("bull:ZW1haWw", ["ZW1haWw"]),  # no encoder leaves the padding out
        ("bull:ZW1haWx=", ["ZW1haWx="]),  # nor sets the bits under it
        ("bull:ZW1haWw=:qe", []),
        ("bull:ZW1haWw=:qs", []),
        ("bullet:ZW1haWw=", []),
        ("bull", []),
        ("bull:", []),
        ("", []),
    ],
)
def test_what_a_connection_works_on(client: str, names: list[str]) -> None:
    assert worker_queues(client, ("bull",)) == tuple(QueueId("bull", name) for name in names)


def test_the_longest_prefix_of_a_connection_counts() -> None:
    assert worker_queues(f"shop:eu:{encoded('mail')}", ("shop", "shop:eu"))[0] == ("shop:eu", "mail")


@given(NAMES, st.sampled_from(["", ":w:", ":w:anna", ":w:a:w:b"]))
def test_every_name_comes_through_node_s_encoding(name: str, suffix: str) -> None:
    assert worker_queues(f"bull:{encoded(name)}{suffix}", ("bull",))[0] == QueueId("bull", name)


@pytest.mark.parametrize(
    ("entry", "pattern"),
    [("mail", False), ("mail-*", True), ("m?il", True), ("[ab]", True), ("{mail}", False)],
)
def test_patterns(entry: str, *, pattern: bool) -> None:
    assert is_pattern(entry) is pattern


@pytest.mark.parametrize(
    ("name", "entries", "wanted"),
    [
        ("mail", (), True),
        ("mail", ("mail",), True),
        ("mail", ("Mail",), False),
        ("mail-7", ("mail", "mail-*"), True),
        ("sms", ("mail", "mail-*"), False),
        ("[x]", ("[x]",), True),  # an entry also means itself
    ],
)
def test_which_queues_are_wanted(name: str, entries: tuple[str, ...], *, wanted: bool) -> None:
    assert is_wanted(QueueId("bull", name), entries) is wanted
