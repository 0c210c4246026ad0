from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.schedulers.members import (
    RepeatKey,
    is_repeatable,
    job_of,
    job_of_key,
    other_jobs,
    parse_key,
)
from exporter.snapshot.queues import Library

MS = "1795971600000"


@pytest.mark.parametrize(
    ("member", "library", "expected"),
    [
        ("report", "bullmq", None),
        ("tenant:1:eu", "bullmq", None),
        ("a:b:::\u00b2", "bullmq", RepeatKey("a:b", "a", "b", None, None, None, "\u00b2")),
        ("a:b::\u00b2", "bull", None),
        ("9bbf444aca3c81002ea4e0fea8350d97", "bullmq", None),
        (
            "rep:::Asia/Jakarta:0 0 * * *",
            "bullmq",
            RepeatKey("rep:", "rep", "", None, "Asia/Jakarta", None, "0 0 * * *"),
        ),
        ("rep:mine:::3000", "bullmq", RepeatKey("rep:mine", "rep", "mine", None, None, 3000.0, None)),
        (
            "end::1795889637456::2000",
            "bullmq",
            RepeatKey("end:", "end", "", 1795889637456.0, None, 2000.0, None),
        ),
        ("eu:daily::::1000", "bullmq", RepeatKey("eu:daily:", "eu", "daily:", None, None, 1000.0, None)),
        (
            "rep:::Asia/Jakarta:0 0 * * *",
            "bull",
            RepeatKey("rep:", "rep", "", None, "Asia/Jakarta", None, "0 0 * * *"),
        ),
        ("rep:mine::3000", "bull", RepeatKey("rep:mine", "rep", "mine", None, None, 3000.0, None)),
        ("imm:::3600000", "bull", RepeatKey("imm:", "imm", "", None, None, 3600000.0, None)),
        (
            "end::1795889637367:2000",
            "bull",
            RepeatKey("end:", "end", "", 1795889637367.0, None, 2000.0, None),
        ),
    ],
)
def test_the_options_in_a_key(member: str, library: Library, expected: RepeatKey | None) -> None:
    """The members are those that the libraries wrote."""
    assert parse_key(member, library) == expected


@pytest.mark.parametrize(
    ("member", "library", "job"),
    [
        ("rep:::Asia/Jakarta:0 0 * * *", "bull", "ce87c8d38112a9549cd597598089f7de"),
        ("rep:mine::3000", "bull", "d0cd694e9c196ef17d3dbc97eec8f452"),
        ("imm:::3600000", "bull", "e47e4a38fdc2d2a02a679a4da55ff3c3"),
        ("rep:::Asia/Jakarta:0 0 * * *", "bullmq", "d8e1deac5f9f85f590448543223854ea"),
        ("rep:mine:::3000", "bullmq", "bdd7ac1cf83bf21aa75c20b179bbf274"),
        ("imm::::3600000", "bullmq", "c00e7d58525349837d49c62a76cba414"),
    ],
)
def test_the_job_of_a_key(member: str, library: Library, job: str) -> None:
    """The ids are those that Bull 4 and BullMQ 4 gave to their jobs."""
    key = parse_key(member, library)
    assert key is not None
    assert job_of_key(member, key, MS, library) == f"repeat:{job}:{MS}"


def test_the_job_of_an_id() -> None:
    assert job_of("tenant:1", MS) == f"repeat:tenant:1:{MS}"


def test_other_names_of_a_job() -> None:
    """Other splits of name and id, the name alone, and three other hashes."""
    member = "eu:daily::::1000"
    key = parse_key(member, "bullmq")
    assert key is not None
    others = list(other_jobs(member, key, MS, "bullmq"))
    named = parse_key("eu:daily::::1000", "bullmq")
    assert named is not None
    assert len(others) == len(set(others))
    assert job_of_key(member, key._replace(name="eu:daily", id=""), MS, "bullmq") in others
    assert {len(job) for job in others} == {len(f"repeat::{MS}") + length for length in (32, 40, 64, 128)}


@pytest.mark.parametrize(
    ("member", "expected"),
    [("report", False), ("rep:::: * * * * *", True), ("9bbf444aca3c81002ea4e0fea8350d97", True)],
)
def test_what_options_made(member: str, *, expected: bool) -> None:
    assert is_repeatable(member, parse_key(member, "bullmq")) is expected


@given(st.text(max_size=60), st.sampled_from(["bullmq", "bull"]))
def test_any_member_is_an_id_or_a_key(member: str, library: Library) -> None:
    key = parse_key(member, library)
    if key is not None:
        assert member.startswith(key.head)
        assert key.head == f"{key.name}:{key.id}"
        assert (key.every_ms is None) != (key.pattern is None)
        jobs = list(other_jobs(member, key, MS, library))
        assert len(jobs) <= 8 * 2 + 3
        assert job_of_key(member, key, MS, library) in jobs


def test_a_key_that_is_not_utf_8() -> None:
    member = b"r\xffp::::1000".decode("utf-8", "surrogateescape")
    key = parse_key(member, "bullmq")
    assert key is not None
    assert job_of_key(member, key, MS, "bullmq").startswith("repeat:")
