from __future__ import annotations

import json
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.counts import (
    REPLIES,
    Counts,
    ages,
    ages_asked,
    pack_ages,
    pack_plans,
    plan,
    unpack,
)
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot import QueueId

MAIL = QueueId("bull", "mail")
NOW_MS = 1_700_000_000_000
NAMES = (
    "wait",
    "paused",
    "active",
    "delayed",
    "prioritized",
    "waiting_children",
    "completed",
    "failed",
    "schedulers",
    "meta",
    "wait_last",
    "wait_second",
    "paused_last",
    "paused_second",
    "longest",
    "limiter",
    "limiter_ttl",
    "overdue",
    "failed_last_hour",
)
NOTHING: list[Reply] = [None, None, None]
NONE_LEFT = -2  # what PTTL says of a key that is not there
ABSENT = ("wait_last", "wait_second", "paused_last", "paused_second", "longest", "limiter")
IDLE: dict[str, Reply] = {
    **dict.fromkeys(NAMES, 0),
    **dict.fromkeys(ABSENT),
    "meta": NOTHING,
    "limiter_ttl": NONE_LEFT,
}


def replies(**more: Reply) -> list[Reply]:
    """What Redis answers to a queue's commands, in their order: of an idle queue, but for `more`."""
    answers = IDLE | more
    assert len(answers) == REPLIES
    return [answers[name] for name in NAMES]


def read(**more: Reply) -> Counts:
    (one,) = unpack(replies(**more))
    assert isinstance(one, Counts)
    return one


def commands(packed: bytes) -> list[list[str]]:
    reader = hiredis.Reader(encoding="utf-8", errors="surrogateescape")
    reader.feed(packed)
    found = []
    while (command := reader.gets()) is not False:
        found.append(command)
    return found


def test_the_commands_of_a_queue() -> None:
    request = pack_plans([plan(MAIL)], NOW_MS)
    key = "bull:mail:"
    assert commands(request.packed) == [
        ["LLEN", key + "wait"],
        ["LLEN", key + "paused"],
        ["LLEN", key + "active"],
        ["ZCARD", key + "delayed"],
        ["ZCARD", key + "prioritized"],
        ["ZCARD", key + "waiting-children"],
        ["ZCARD", key + "completed"],
        ["ZCARD", key + "failed"],
        ["ZCARD", key + "repeat"],
        ["HMGET", key + "meta", "paused", "concurrency", "max"],
        ["LINDEX", key + "wait", "-1"],
        ["LINDEX", key + "wait", "-2"],
        ["LINDEX", key + "paused", "-1"],
        ["LINDEX", key + "paused", "-2"],
        ["LINDEX", key + "active", "-1"],
        ["GET", key + "limiter"],
        ["PTTL", key + "limiter"],
        ["ZCOUNT", key + "delayed", "-inf", str(NOW_MS * 4096)],
        ["ZCOUNT", key + "failed", str(NOW_MS - 3_600_000), "+inf"],
    ]
    assert request.replies == REPLIES == len(NAMES)


@given(st.lists(st.text(), min_size=1, max_size=4), st.integers(0, 2**43))
def test_every_queue_has_all_its_commands(names: list[str], now_ms: int) -> None:
    queues = [QueueId("{b:}", name) for name in names]
    request = pack_plans([plan(queue) for queue in queues], now_ms)
    found = commands(request.packed)
    assert len(found) == request.replies == REPLIES * len(names)
    for place, command in enumerate(found):
        prefix = f"{{b:}}:{names[place // REPLIES]}:"
        assert (
            command[1]
            .encode("utf-8", "surrogateescape")
            .startswith(prefix.encode("utf-8", "surrogateescape"))
        )


def test_no_queue_no_commands() -> None:
    assert pack_plans([], NOW_MS).replies == 0
    assert unpack([]) == []


def test_each_number_in_its_place() -> None:
    plain = ("active", "delayed", "prioritized", "waiting_children", "completed", "failed", "schedulers")
    numbers: dict[str, Reply] = {name: 10 + place for place, name in enumerate(plain)}
    one = read(**numbers, overdue=3, failed_last_hour=4, longest=b"7")
    assert {name: getattr(one, name) for name in plain} == numbers
    assert (one.delayed_overdue, one.failed_last_hour, one.longest) == (3, 4, b"7")
    assert (one.waiting, one.paused, one.oldest) == (0, False, ())


MARKER = b"0:1700000000000"


@pytest.mark.parametrize(
    ("lists", "waiting", "oldest"),
    [
        ({"wait": 2, "wait_last": b"1", "wait_second": b"2"}, 2, (b"1",)),
        ({"paused": 2, "paused_last": b"1", "paused_second": b"2"}, 2, (b"1",)),
        (
            {"wait": 1, "wait_last": b"9", "paused": 2, "paused_last": b"1", "paused_second": b"2"},
            3,
            (b"9", b"1"),
        ),
        ({"wait": 1, "wait_last": MARKER}, 0, ()),
        ({"wait": 3, "wait_last": MARKER, "wait_second": b"4"}, 2, (b"4",)),
        ({"paused": 2, "paused_last": b"0:0", "paused_second": b"4"}, 1, (b"4",)),
        ({"wait": 1, "wait_last": MARKER, "paused": 1, "paused_last": b"0:0"}, 0, ()),
        ({"wait": 1, "wait_last": b"01"}, 1, (b"01",)),  # an id, though it begins with 0
        ({"wait": 4}, 4, ()),  # a worker took the last between our commands
        ({"wait": 0, "wait_last": MARKER}, 0, ()),  # and here the marker came
    ],
)
def test_waiting_jobs_and_markers(lists: dict[str, Reply], waiting: int, oldest: tuple[bytes, ...]) -> None:
    one = read(**lists)
    assert (one.waiting, one.oldest) == (waiting, oldest)


@pytest.mark.parametrize(
    ("meta", "paused", "limit"),
    [
        ([None, None, None], False, None),
        ([b"1", None, None], True, None),
        ([None, b"5", None], False, 5),
        ([b"1", b"", None], True, None),
    ],
)
def test_meta(meta: list[Reply], *, paused: bool, limit: int | None) -> None:
    one = read(meta=meta)
    assert (one.paused, one.concurrency_limit) == (paused, limit)


@pytest.mark.parametrize(
    ("most", "limiter", "ttl_ms", "seconds"),
    [
        (None, None, -2, None),  # no limit, or the workers' own while none of them has started a job
        (None, b"3", 1500, 1.5),  # the workers' own
        (None, b"3", -1, None),
        (b"10", None, -2, 0.0),
        (b"10", b"9", 1500, 0.0),
        (b"10", b"10", 1500, 1.5),
        (b"10", b"11", 1500, 1.5),
        (b"10", b"10", -1, 0.0),
    ],
)
def test_rate_limits(most: bytes | None, limiter: bytes | None, ttl_ms: int, seconds: float | None) -> None:
    assert read(meta=[None, None, most], limiter=limiter, limiter_ttl=ttl_ms).rate_limit_ttl == seconds


@pytest.mark.parametrize("place", range(REPLIES), ids=NAMES)
@pytest.mark.parametrize("said", ["NOPERM no", "WRONGTYPE x", "MOVED 1 a:1", "LOADING"])
def test_an_error_makes_its_queue_unread_and_no_other(place: int, said: str) -> None:
    middle = replies(wait=2, wait_last=b"1", wait_second=b"2", longest=b"3", limiter=b"1")
    middle[place] = ReplyError(said)
    before, broken, after = unpack([*replies(wait=1), *middle, *replies(active=9)])
    assert isinstance(broken, ReplyError)
    assert str(broken) == said
    assert isinstance(before, Counts)
    assert isinstance(after, Counts)
    assert (before.waiting, after.active) == (1, 9)


COUNTED = [name for name in NAMES if name not in ABSENT]


@pytest.mark.parametrize("name", [*COUNTED, "wait_last", "paused_last", "longest"])
@pytest.mark.parametrize("odd", [[], [[]], [1]])
def test_an_answer_that_makes_no_sense(name: str, odd: Any) -> None:
    (one,) = unpack(replies(**{name: odd}))
    assert isinstance(one, ReplyError)
    assert "makes no sense" in str(one)


@pytest.mark.parametrize("meta", [[b"1", b"five", None], [None, None, b"many"], [None, None], b"1"])
def test_settings_that_are_no_numbers(meta: Any) -> None:
    (one,) = unpack(replies(meta=meta))
    assert isinstance(one, ReplyError)
    assert "makes no sense" in str(one)


# --- ages ------------------------------------------------------------------------------------------------


def job(
    *, added: int | None = None, processed: int | None = None, opts: object = None, **tries: bytes
) -> Reply:
    """A job's hash as `age_commands` asks for it; times are ms before now."""

    def moment(before: int | None) -> bytes | None:
        return None if before is None else b"%d" % (NOW_MS - before)

    raw = opts if isinstance(opts, bytes) else None if opts is None else json.dumps(opts).encode()
    fields = [tries.get(name) for name in ("atm", "attemptsMade")]
    return [moment(added), moment(processed), raw, *fields]


def waited(*jobs: Reply) -> float | None:
    counts = read(wait=9)._replace(oldest=(b"1",) * len(jobs))
    return ages(counts, jobs, NOW_MS)[0]


def asked_for(one: Counts) -> list[list[str]]:
    request = pack_ages([(plan(MAIL), one)])
    found = commands(request.packed)
    assert len(found) == request.replies == ages_asked(one)
    return found


def test_only_jobs_that_wait_or_run_are_looked_up() -> None:
    fields = ["timestamp", "processedOn", "opts", "atm", "attemptsMade"]
    assert asked_for(read()) == []
    one = read(wait=1, wait_last=b"1", paused=1, paused_last=b"x y", longest=b"\xff")
    assert asked_for(one) == [
        ["HMGET", "bull:mail:1", *fields],
        ["HMGET", "bull:mail:x y", *fields],
        ["HMGET", "bull:mail:\udcff", "processedOn"],
    ]


@given(st.text(), st.lists(st.binary(), max_size=2), st.none() | st.binary())
def test_any_queue_and_job_can_be_asked_for(name: str, oldest: list[bytes], longest: bytes | None) -> None:
    queue = QueueId("bull", name)
    request = pack_ages([(plan(queue), read()._replace(oldest=tuple(oldest), longest=longest))])
    jobs = [*oldest, *([] if longest is None else [longest])]
    keys = [command[1].encode("utf-8", "surrogateescape") for command in commands(request.packed)]
    assert keys == [f"bull:{name}:".encode() + job for job in jobs]


@pytest.mark.parametrize(
    ("jobs", "seconds"),
    [
        ([job(added=5000)], 5.0),
        ([job(added=5000, opts={"delay": 2000})], 3.0),  # from when it was due
        ([job(added=5000, opts={"delay": 0, "attempts": 3})], 5.0),
        ([job(added=60_000, processed=1000)], 1.0),  # retried
        ([job(added=60_000, processed=1000, atm=b"1")], 1.0),
        ([job(added=60_000, atm=b"0", attemptsMade=b"0")], 60.0),
        ([job(added=60_000, atm=b"1")], None),  # put back by hand
        ([job(added=60_000, attemptsMade=b"3")], None),  # so it is in v3 and v4
        ([job(added=1000), job(added=7000)], 7.0),  # the lists of waiting and paused jobs
        ([job(added=60_000, atm=b"1"), job(added=7000)], 7.0),
        ([job()], None),  # taken in the meantime, and removed
        ([], None),
        ([job(added=-5000)], 0.0),  # the producer's clock is ahead
        ([job(added=5000, opts=b'{"delay":')], 5.0),
        ([job(added=5000, opts=b'["delay"]')], 5.0),
        ([job(added=5000, opts={"delay": "2000"})], 5.0),
        ([job(added=5000, opts={"delay": -1})], 5.0),
        ([job(added=5000, opts={"repeat": {"delay": 2000}})], 5.0),
        ([job(added=5000, opts=b'{"delay":1' + b"0" * 400 + b"}")], None),  # more than a float can hold
        ([job(added=5000, opts=b'{"delay":' + b"[" * 200_000)], 5.0),  # deeper than the parser goes
        ([job(added=5000, atm=b"often")], None),
        ([ReplyError("NOPERM no")], None),
        ([[]], None),
        ([[b"yesterday", None, None, None, None]], None),
    ],
)
def test_how_long_the_oldest_waits(jobs: list[Reply], seconds: float | None) -> None:
    assert waited(*jobs) == seconds


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        ([b"%d" % (NOW_MS - 2500)], 2.5),
        ([b"%d" % (NOW_MS + 2500)], 0.0),
        ([None], None),
        ([], None),
        (ReplyError("WRONGTYPE x"), None),
        (7, None),
    ],
)
def test_how_long_the_first_runs(reply: Reply, seconds: float | None) -> None:
    assert ages(read(active=1, longest=b"1"), [reply], NOW_MS) == (None, seconds)


@given(
    st.lists(
        st.one_of(
            st.none(), st.integers(), st.binary(), st.lists(st.one_of(st.none(), st.binary(), st.integers()))
        ),
        min_size=3,
        max_size=3,
    )
)
def test_ages_are_never_negative_whatever_is_answered(answers: list[Any]) -> None:
    one = read(wait=1)._replace(oldest=(b"1", b"2"), longest=b"3")
    for age in ages(one, answers, NOW_MS):
        assert age is None or age >= 0
