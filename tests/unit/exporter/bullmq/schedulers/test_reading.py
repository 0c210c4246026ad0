from __future__ import annotations

import json

import pytest

from exporter.bullmq.schedulers.members import parse_key
from exporter.bullmq.schedulers.reading import (
    JobFacts,
    Member,
    Options,
    commands,
    digest,
    due_command,
    head_command,
    members,
    names_by_data,
    parse_job,
    parse_options,
    parse_scheduler,
    parse_second_look,
    refusal,
    second_look,
)
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.queues import QueueId

MAIL = QueueId("bull", "mail")
MS = "1795971600000"
KEY = "rep:::Asia/Jakarta:0 0 * * *"
BY_ID = Member("report", MS, None)
BY_KEY = Member(KEY, MS, parse_key(KEY, "bullmq"))
NO_HASH: Reply = [None] * 8
NO_JOB: list[Reply] = [[None, None, None], 0, 0]


def job(
    created: bytes | None = b"100", started: bytes | None = None, ended: bytes | None = None
) -> list[Reply]:
    return [[created, started, ended], 120, 2]


def test_the_members_of_the_set() -> None:
    assert head_command(MAIL, 3) == ("ZRANGE", "bull:mail:repeat", 0, 2, "WITHSCORES")
    reply: Reply = [b"report", MS.encode(), KEY.encode(), b"17", b"odd", b"never"]
    assert members(reply, "bullmq") == [BY_ID, Member(KEY, "17", BY_KEY.key)]
    assert members(ReplyError("WRONGTYPE"), "bullmq") == []


@pytest.mark.parametrize(("member", "library", "count"), [(BY_ID, "bullmq", 4), (BY_KEY, "bullmq", 7)])
def test_all_commands_read_the_queue(member: Member, library: str, count: int) -> None:
    asked = commands(MAIL, member, "bullmq")
    assert len(asked) == count
    assert {command[0] for command in asked} == {"HMGET", "HSTRLEN"}
    assert all(str(command[1]).startswith("bull:mail:repeat:") for command in asked)


def test_a_scheduler_and_its_job() -> None:
    fields: Reply = [b"daily", b"60000", None, None, b"5", b"7", b"9", b"3"]
    facts, facts_of_job = parse_scheduler(BY_ID, "bullmq", [fields, *job()])
    assert facts == ("daily", 60000.0, None, None, 5.0, 7.0, 9, 3)
    assert facts_of_job == JobFacts(f"repeat:report:{MS}", 100.0, None, None, 120, 2)


def test_a_repeatable_whose_options_are_its_key() -> None:
    facts, facts_of_job = parse_scheduler(BY_KEY, "bullmq", [NO_HASH, *job(), *NO_JOB])
    assert facts == ("rep", None, "0 0 * * *", "Asia/Jakarta", None, None, None, None)
    assert facts_of_job.id == f"repeat:d8e1deac5f9f85f590448543223854ea:{MS}"


def test_an_id_that_looks_like_a_key() -> None:
    fields: Reply = [b"daily", b"60000", *[None] * 5, b"1"]
    facts, facts_of_job = parse_scheduler(BY_KEY, "bullmq", [fields, *NO_JOB, *job()])
    assert (facts.name, facts.every_ms, facts.pattern) == ("daily", 60000.0, None)
    assert facts_of_job.id == f"repeat:{KEY}:{MS}"


@pytest.mark.parametrize(
    ("replies", "state"),
    [
        (NO_JOB, "none"),
        (job(), "pending"),
        (job(started=b"200"), "active"),
        (job(started=b"200", ended=b"300"), "finished"),
        (job(created=b"nan"), "none"),
        ([ReplyError("WRONGTYPE no hash"), ReplyError("WRONGTYPE"), ReplyError("WRONGTYPE")], "none"),
    ],
)
def test_the_state_of_the_next_job(replies: list[Reply], state: str) -> None:
    assert parse_scheduler(BY_ID, "bullmq", [NO_HASH, *replies])[1].state == state


def test_a_second_look_is_for_keys() -> None:
    assert second_look(MAIL, BY_ID, "bullmq") == []
    assert parse_second_look(BY_ID, "bullmq", []) == (None, False)
    first, *others = second_look(MAIL, BY_KEY, "bullmq")
    at = int(MS) * 4096
    assert first == ("ZCOUNT", "bull:mail:delayed", at, at + 4095)
    none: list[Reply] = NO_JOB * (len(others) // 3)
    assert parse_second_look(BY_KEY, "bullmq", [0, *none]) == (None, False)
    assert parse_second_look(BY_KEY, "bullmq", [1, *none]) == (None, True)
    found, _ = parse_second_look(BY_KEY, "bullmq", [1, *none[:-3], *job()])
    assert found is not None
    assert found.state == "pending"


def test_jobs_that_are_due() -> None:
    assert due_command(MAIL, 10.0) == ("ZCOUNT", "bull:mail:delayed", 9000 * 4096, 11000 * 4096)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"delay": 5, "repeat": {"count": 2, "limit": 3, "endDate": 9}}, Options(5.0, 2, 3, 9.0)),
        ({"repeat": {"endDate": "2030-01-01"}}, Options()),
        ({"delay": "many", "repeat": None}, Options()),
        ({"delay": True, "repeat": {"count": 1e400}}, Options()),
        ([], Options()),
    ],
)
def test_the_options_of_a_job(options: object, expected: Options) -> None:
    assert parse_options([json.dumps(options).encode()]) == expected


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 100_000, None])
def test_options_that_are_none(raw: bytes | None) -> None:
    assert parse_options([raw]) == parse_options(None) == Options()


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("5.81.5", True),
        ("5.9.0", True),
        ("6.7.0", True),
        ("5.8.9", False),
        ("4.18.3", False),
        ("", False),
        ("x.y", False),
        ("5.\u00b2", False),
        ("9" * 5000 + ".1", False),
    ],
)
def test_which_bullmq_names_jobs_by_their_data(version: str, *, expected: bool) -> None:
    assert names_by_data(version) is expected


def test_a_job_with_fewer_times_than_were_asked_for_is_none() -> None:
    assert parse_job("x", [[b"1"], 0, 0]).created_ms == 1.0
    assert parse_job("x", [[], 0, 0]).state == "none"


def test_a_digest_of_what_was_read() -> None:
    assert digest([b"{}"]) == digest([b"{}"]) != digest([b"[]"])
    assert digest([None]) is digest(ReplyError("NOPERM")) is None


def test_a_refusal_leaves_all_unknown_and_a_key_of_another_type_does_not() -> None:
    assert refusal([1, ReplyError("WRONGTYPE x"), [None]]) is None
    assert str(refusal([1, ReplyError("NOPERM x")])) == "NOPERM x"
