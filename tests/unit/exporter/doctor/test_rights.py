"""The rights are those of the shipped ACL file, and the texts of servers are understood."""

from __future__ import annotations

import pytest

from exporter.doctor.rights import RIGHTS, MissingRight, RedisRight, grant_lines, missing_right, needed_rights
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.queues import QueueId
from tests.support.acl import rules

XREAD = next(right for right in RIGHTS if right.name == "xread")
COMMAND, KEY = MissingRight(("+xread",)), MissingRight(("~bull:*",))


def test_the_rights_are_those_of_the_file() -> None:
    granted = {word for word in rules(version="7.0") if word.startswith("+")}
    assert {f"+{right.name}" for right in RIGHTS} == granted


def test_the_channels_are_those_of_the_file() -> None:
    psubscribe = next(right for right in RIGHTS if right.name == "psubscribe")
    missing = missing_right(psubscribe, ReplyError("NOPERM No permissions to access a channel"), "bull")
    assert missing is not None
    assert set(missing.rights) == {word for word in rules(version="7.0") if word.startswith("&")}


@pytest.mark.parametrize(
    ("reply", "missing"),
    [
        (None, None),
        (b"OK", None),
        ([], None),
        (0, None),
        (ReplyError("ERR no such key"), None),
        (ReplyError("MOVED 1 a:1"), None),
        (
            ReplyError("NOPERM this user has no permissions to run the 'xread' command or its subcommand"),
            COMMAND,
        ),
        (ReplyError("NOPERM this user has no permissions to run the 'xread' command"), COMMAND),
        (ReplyError("NOPERM User exporter has no permissions to run the 'xread' command"), COMMAND),
        (b"This user has no permissions to run the 'xread' command", COMMAND),
        (b"User exporter has no permissions to run the 'xread' command", COMMAND),
        (ReplyError("NOPERM this user has no permissions to access one of the keys used as arguments"), KEY),
        (ReplyError("NOPERM No permissions to access a key"), KEY),
        (b"This user has no permissions to access the 'bull:channel:x' key", KEY),
        (b"User exporter has no permissions to access the 'bull:mail:x' key", KEY),
    ],
)
def test_what_servers_say(reply: Reply, missing: MissingRight | None) -> None:
    assert missing_right(XREAD, reply, "bull") == missing


@pytest.mark.parametrize(
    ("version", "word"), [("6.2.14", "~it\\*s:*"), ("7.0.0", "%R~it\\*s:*"), ("8.2.1", "%R~it\\*s:*")]
)
def test_keys_are_granted_for_reading_where_the_server_can(version: str, word: str) -> None:
    missing = missing_right(XREAD, ReplyError("NOPERM No permissions to access a key"), "it*s")
    assert missing is not None
    [line] = grant_lines("ex porter", [missing], ["a:1"], version=version, cluster=False)
    assert line == f"redis-cli -h a -p 1 acl setuser 'ex porter' '{word}'"


def test_a_line_for_each_server_or_one_for_a_cluster() -> None:
    nodes = ["a:1", "b:2"]
    assert grant_lines("default", [COMMAND, COMMAND], nodes, version="7", cluster=False) == (
        "redis-cli -h a -p 1 acl setuser default +xread",
        "redis-cli -h b -p 2 acl setuser default +xread",
    )
    assert grant_lines("default", [COMMAND], nodes, version="7", cluster=True) == (
        "redis-cli --cluster call a:1 acl setuser default +xread",
    )


@pytest.mark.parametrize("right", RIGHTS, ids=lambda right: right.name)
def test_a_command_reads_only_what_is_not_there(right: RedisRight) -> None:
    words = right.command(QueueId("bull", "mail"), 3)
    assert words[0].isupper()
    assert not [word for word in words if "{" in word]
    assert not [
        word
        for word in words
        if word.startswith("bull:mail:") and "oxherd-doctor" not in word and not right.subscribes
    ]


def test_what_is_needed_follows_from_the_settings() -> None:
    assert XREAD not in needed_rights(())
    assert XREAD in needed_rights(["events"])
    assert set(needed_rights(["cluster", "database", "scan", "events", "bull"])) == set(RIGHTS)
