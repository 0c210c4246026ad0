from __future__ import annotations

import json

import hiredis
import pytest

from exporter.bullmq.counts import (
    REPLIES,
    TAIL_REPLIES,
    Counts,
    may_be_marker,
    pack_tails,
    plan_queue,
    read_counts,
    with_tails,
)
from exporter.bullmq.details import (
    NEVER,
    Moment,
    Since,
    details,
    needs_due,
    pack_due,
    with_details,
    with_due,
    without_details,
)
from exporter.redis.protocol import Reply, ReplyError, Request
from exporter.snapshot.queues import JobCounts, QueueId
from tests.support.ages import Ages, ages

NOW_MS = 1_700_000_000_000
MAIL = QueueId("bull", "mail")
EMPTY: dict[str, Reply] = {
    "LLEN wait": 0,
    "LLEN paused": 0,
    "LLEN active": 0,
    "ZCARD delayed": 0,
    "ZCARD prioritized": 0,
    "ZCARD waiting-children": 0,
    "ZCARD completed": 0,
    "ZCARD failed": 0,
    "ZCARD repeat": 0,
    "HMGET meta": [None, None, None, None],
    "LINDEX wait -1": None,
    "LINDEX active": None,
    "PTTL limiter": -2,
}
"""The replies to the commands of every queue."""
DETAILS: dict[str, Reply] = {
    "GET limiter": None,
    "ZCOUNT failed": 0,
    "ZRANGE delayed 0 0": [],
    "ZCOUNT delayed -inf": 0,
    "ZCOUNT delayed": 0,
}
TAILS: dict[str, Reply] = {
    "LINDEX wait -2": None,
    "LINDEX paused -1": None,
    "LINDEX paused -2": None,
    "LINDEX wait 0": None,
    "LINDEX paused 0": None,
    "EXISTS 0": 0,
}
NOPERM = ReplyError("NOPERM no permissions to access a key")


def sent(request: Request) -> list[tuple[str, ...]]:
    """The commands, as a server reads them."""
    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(request.packed)
    commands = [tuple(reader.gets()) for _ in range(request.replies)]
    assert reader.gets() is False
    return commands


def asked(counts: Counts, *, far: bool = False, now_ms: int = NOW_MS) -> list[tuple[str, ...]]:
    """The commands for the details of a queue."""
    packed = details(plan_queue(MAIL), counts, Moment(now_ms), far=far)
    return sent(Request(b"".join(packed), len(packed)))


def read(replies: dict[str, Reply]) -> Counts | ReplyError:
    """What all looks at a queue make of these replies."""
    assert replies.keys() <= (EMPTY | DETAILS | TAILS).keys()
    every = DETAILS | replies
    counts = read_counts([replies.get(name, usual) for name, usual in EMPTY.items()])
    if isinstance(counts, Counts) and counts.open_tails:
        counts = with_tails(counts, [replies.get(name, usual) for name, usual in TAILS.items()])
        assert not isinstance(counts, Counts) or not counts.open_tails
    if not isinstance(counts, Counts):
        return counts
    limited, failed, delayed = counts.window is not None, bool(counts.jobs.failed), bool(counts.jobs.delayed)
    due: list[Reply] = [every["ZCOUNT delayed -inf"], every["ZCOUNT delayed"]]
    answers: dict[bool, list[Reply]] = {
        far: [
            *([every["GET limiter"]] if limited else []),
            *([every["ZCOUNT failed"]] if failed else []),
            *[None] * (len(counts.oldest) + (counts.longest is not None)),
            *([every["ZRANGE delayed 0 0"], *([] if far else due)] if delayed else []),
            *([None] if counts.jobs.waiting_children else []),
        ]
        for far in (False, True)
    }
    results: list[Counts | ReplyError] = []
    for far, each in answers.items():
        assert len(each) == len(asked(counts, far=far))
        read_details = with_details(counts, each, NOW_MS, far=far)
        if isinstance(read_details, ReplyError):
            results.append(read_details)
            continue
        detailed, moments = read_details
        later = far and needs_due(detailed, moments, NOW_MS)
        assert later or not delayed or detailed.odd or detailed.delayed_overdue is not None
        results.append(with_due(detailed, due) if later else detailed)
    assert results[0] == results[1]  # whether the first delayed job was expected or not
    return results[0]


def counted(replies: dict[str, Reply]) -> Counts:
    counts = read(replies)
    assert isinstance(counts, Counts)
    return counts


def test_the_commands_of_a_queue_are_those_of_its_replies() -> None:
    commands = sent(plan_queue(MAIL).request)
    assert len(commands) == REPLIES == len(EMPTY)
    tails = sent(pack_tails(plan_queue(MAIL)))
    assert len(tails) == TAIL_REPLIES == len(TAILS)
    for command, named in zip([*commands, *tails], [*EMPTY, *TAILS], strict=True):
        words = named.split()
        assert command[0] == words[0]
        assert command[1] == f"bull:mail:{words[1]}"
        assert command[2 : len(words)] == tuple(words[2:])


def test_no_command_writes() -> None:
    reads = {"LLEN", "ZCARD", "HMGET", "LINDEX", "PTTL"}
    assert {command[0] for command in sent(plan_queue(MAIL).request)} == reads


def test_times_are_those_of_each_request() -> None:
    plan = plan_queue(MAIL)
    failed_one = counted({"ZCARD failed": 1})
    for now_ms in (NOW_MS, NOW_MS + 15_000):
        overdue, due = sent(pack_due(plan, Moment(now_ms)))
        assert overdue == ("ZCOUNT", "bull:mail:delayed", "-inf", str(now_ms * 4096))
        assert due == (
            "ZCOUNT",
            "bull:mail:delayed",
            f"({now_ms * 4096}",
            str((now_ms + 60_000) * 4096),
        )
        assert asked(failed_one, now_ms=now_ms) == [
            ("ZCOUNT", "bull:mail:failed", str(now_ms - 3_600_000), "+inf")
        ]


def test_any_name_has_its_commands() -> None:
    for name in ("b", "ü 🚀\n"):
        commands = sent(plan_queue(QueueId("bull", name)).request)
        assert [command[1].startswith(f"bull:{name}:") for command in commands] == [True] * REPLIES


def test_an_empty_queue_needs_no_further_command() -> None:
    assert asked(counted({})) == []
    assert not needs_due(counted({}), NEVER, NOW_MS)


@pytest.mark.parametrize(("seconds", "asked"), [(-1, True), (0, True), (60, True), (61, False)])
def test_how_many_are_due_is_asked_only_where_one_may_be(seconds: int, asked: bool) -> None:  # noqa: FBT001
    counts = counted({"ZCARD delayed": 2, "ZRANGE delayed 0 0": [b"1", b"%d" % ((NOW_MS + 10**6) * 4096)]})
    assert needs_due(counts, Since(first_due=NOW_MS + seconds * 1000), NOW_MS) is asked
    assert needs_due(counts, NEVER, NOW_MS)  # it is not known when
    all_due = counts._replace(delayed_overdue=2)
    assert not needs_due(all_due, Since(first_due=NOW_MS - 5), NOW_MS)


def test_details_that_did_not_arrive_are_not_known() -> None:
    limited = read_counts(
        list((EMPTY | {"HMGET meta": [None, None, b"5", None], "PTTL limiter": 9}).values())
    )
    assert isinstance(limited, Counts)
    assert without_details(limited).rate_limit_ttl is None
    some = read_counts(list((EMPTY | {"ZCARD failed": 1, "ZCARD delayed": 1}).values()))
    assert isinstance(some, Counts)
    late = without_details(some)
    assert (late.failed_last_hour, late.delayed_overdue, late.delayed_due) == (None, None, None)


def test_an_empty_queue() -> None:
    assert counted({}) == Counts(JobCounts(0, 0, 0, 0, 0, 0, 0), 0, False, None, None, 0, 0, 0, (), None)


def test_every_state() -> None:
    counts = counted(
        {
            "LLEN wait": 1,
            "LLEN paused": 20,
            "LLEN active": 3,
            "ZCARD delayed": 4,
            "ZCARD prioritized": 5,
            "ZCARD waiting-children": 6,
            "ZCARD completed": 7,
            "ZCARD failed": 8,
            "ZCARD repeat": 9,
            "HMGET meta": [b"1", b"10", None, b"bullmq:6.7.0"],
            "LINDEX wait -1": b"w",
            "LINDEX paused -1": b"p",
            "LINDEX paused -2": b"q",
            "LINDEX active": b"a",
            "ZCOUNT delayed -inf": 11,
            "ZCOUNT delayed": 14,
            "ZCOUNT failed": 12,
        }
    )
    jobs = JobCounts(21, 3, 4, 5, 6, 7, 8)
    assert counts == Counts(
        jobs, 9, True, 10, None, 11, 14, 12, (b"w", b"p"), b"a", version="6.7.0", lists=(1, 20)
    )


@pytest.mark.parametrize("key", ["wait", "paused"])
def test_a_marker_is_no_job(key: str) -> None:
    alone = counted({f"LLEN {key}": 1, f"LINDEX {key} -1": b"0:1700000000000"})
    assert (alone.jobs.waiting, alone.oldest) == (0, ())
    behind = counted({f"LLEN {key}": 3, f"LINDEX {key} -1": b"0:1700000000000", f"LINDEX {key} -2": b"7"})
    assert (behind.jobs.waiting, behind.oldest) == (2, (b"7",))


@pytest.mark.parametrize("key", ["wait", "paused"])
def test_the_id_0_without_a_job_is_a_marker(key: str) -> None:
    alone = counted({f"LLEN {key}": 1, f"LINDEX {key} -1": b"0"})
    assert (alone.jobs.waiting, alone.oldest) == (0, ())
    behind = counted({f"LLEN {key}": 3, f"LINDEX {key} -1": b"0", f"LINDEX {key} -2": b"7"})
    assert (behind.jobs.waiting, behind.oldest) == (2, (b"7",))
    unknown = counted({f"LLEN {key}": NOPERM, f"LINDEX {key} -1": b"0"})
    assert (unknown.jobs.waiting, unknown.oldest) == (None, ())


@pytest.mark.parametrize("key", ["wait", "paused"])
def test_a_job_may_have_the_id_0(key: str) -> None:
    counts = counted({f"LLEN {key}": 2, f"LINDEX {key} -1": b"0", f"LINDEX {key} -2": b"7", "EXISTS 0": 1})
    assert (counts.jobs.waiting, counts.oldest) == (2, (b"0",))


@pytest.mark.parametrize(
    ("job", "may_be"), [(b"0", True), (b"0:17", True), (b"00", False), (b"10", False), (b"0-7", False)]
)
def test_what_may_be_a_marker(job: bytes, may_be: bool) -> None:  # noqa: FBT001
    assert may_be_marker(job) is may_be


OLD: dict[str, Reply] = {"ZCARD delayed": 1, "LLEN wait": 3, "LINDEX wait -1": b"3", "LINDEX wait -2": b"2"}
MARKER_FIRST = OLD | {"LINDEX wait 0": b"0:1700000000000"}


@pytest.mark.parametrize(
    ("replies", "waiting"),
    [
        (MARKER_FIRST, 2),
        (MARKER_FIRST | {"HMGET meta": [None, None, None, b"bullmq:3.16.2"]}, 2),
        (MARKER_FIRST | {"HMGET meta": [None, None, None, b"bullmq:4.18.3"]}, 2),
        (MARKER_FIRST | {"ZCARD delayed": 0, "ZCARD prioritized": 1}, 2),
        (MARKER_FIRST | {"ZCARD repeat": NOPERM}, 2),
        (OLD | {"LINDEX wait 0": b"0"}, 2),
        (OLD | {"LINDEX wait 0": b"0", "EXISTS 0": 1}, 3),
        (OLD | {"LINDEX wait 0": b"1"}, 3),
        (OLD | {"LINDEX wait 0": None, "LINDEX wait -2": None}, 3),  # taken meanwhile
        (MARKER_FIRST | {"LLEN wait": NOPERM, "LLEN paused": 1}, None),
        (
            OLD
            | {"LLEN paused": 2, "LINDEX paused 0": b"0", "LINDEX paused -1": b"9", "LINDEX paused -2": b"0"},
            4,
        ),
    ],
)
def test_a_marker_behind_which_are_jobs_is_no_job(replies: dict[str, Reply], waiting: int | None) -> None:
    counts = counted(replies)
    assert counts.jobs.waiting == waiting
    assert counts.oldest[0] == b"3"


@pytest.mark.parametrize("version", [b"bullmq:5.81.5", b"bullmq:6.7.0"])
def test_a_version_without_markers_needs_no_second_look(version: bytes) -> None:
    replies: dict[str, Reply] = EMPTY | OLD | {"HMGET meta": [None, None, None, version]}
    counts = read_counts([replies[name] for name in EMPTY])
    assert isinstance(counts, Counts)
    assert not counts.open_tails


def test_a_list_that_changes_between_two_commands() -> None:
    emptied = counted({"LLEN wait": 1})
    assert (emptied.jobs.waiting, emptied.oldest) == (1, ())
    filled = counted({"LINDEX wait -1": b"0:1700000000000"})
    assert (filled.jobs.waiting, filled.oldest) == (0, ())


@pytest.mark.parametrize(
    ("max_jobs", "started", "ttl_ms", "seconds"),
    [
        (b"5", b"5", 1500, 1.5),
        (b"5", b"6", 1500, 1.5),
        (b"5", b"4", 1500, 0.0),
        (b"5", None, -2, 0.0),
        (b"5", b"5", -1, 0.0),
        (None, b"1", 1500, 1.5),
        (None, None, -2, None),
        (None, b"1", -1, None),
    ],
)
def test_rate_limit(
    max_jobs: bytes | None, started: bytes | None, ttl_ms: int, seconds: float | None
) -> None:
    counts = counted(
        {"HMGET meta": [None, None, max_jobs, None], "GET limiter": started, "PTTL limiter": ttl_ms}
    )
    assert counts.rate_limit_ttl == seconds


BUSY: dict[str, Reply] = {
    "LLEN wait": 3,
    "LLEN active": 1,
    "ZCARD delayed": 4,
    "ZCARD failed": 5,
    "ZCOUNT failed": 2,
    "HMGET meta": [b"1", b"7", b"10", None],
    "GET limiter": b"10",
    "PTTL limiter": 500,
    "LINDEX wait -1": b"3",
    "LINDEX active": b"1",
}
PARTS: dict[str, set[str]] = {
    "LLEN wait": {"waiting"},
    "LLEN paused": {"waiting"},
    "LLEN active": {"active"},
    "ZCARD delayed": {"delayed", "delayed_overdue", "delayed_due"},
    "ZCARD prioritized": {"prioritized"},
    "ZCARD waiting-children": {"waiting_children"},
    "ZCARD completed": {"completed"},
    "ZCARD failed": {"failed", "failed_last_hour"},
    "ZCARD repeat": {"schedulers"},
    "HMGET meta": {"paused", "concurrency_limit"},
    "LINDEX wait -1": {"oldest"},
    "LINDEX active": {"longest"},
    "GET limiter": set(),
    "PTTL limiter": {"rate_limit_ttl"},
    "ZCOUNT delayed -inf": {"delayed_overdue"},
    "ZCOUNT delayed": {"delayed_due"},
    "ZCOUNT failed": {"failed_last_hour"},
}
"""The figures that come from the reply to each command."""


def figures(counts: Counts) -> dict[str, object]:
    named = counts._asdict()
    del named["lists"], named["window"]
    return {**named.pop("jobs")._asdict(), **named}


READ_OF_BUSY = [*EMPTY, *(name for name in DETAILS if name in PARTS)]


@pytest.mark.parametrize("named", READ_OF_BUSY)
@pytest.mark.parametrize("reply", [NOPERM, ReplyError("WRONGTYPE Operation against a key"), [1]])
def test_a_key_that_cannot_be_read_costs_its_own_figures(named: str, reply: Reply) -> None:
    whole, partial = figures(counted(BUSY)), figures(counted(BUSY | {named: reply}))
    differing = {name for name, value in whole.items() if partial[name] != value}
    expected = PARTS[named] | {"odd"}
    if named in {
        "HMGET meta",
        "GET limiter",
    }:  # without the limit or what is used of it, the TTL alone is told
        differing.discard("rate_limit_ttl")
    assert differing == expected
    assert all(partial[name] in (None, ()) for name in PARTS[named])
    (sentence,) = counted(BUSY | {named: reply}).odd
    assert sentence.startswith((named.split()[1], "rate limit"))


@pytest.mark.parametrize("named", TAILS)
def test_a_list_that_cannot_be_read_again_leaves_the_oldest_job_out(named: str) -> None:
    counts = counted({"LLEN paused": 1, named: NOPERM})
    assert (counts.jobs.waiting, counts.oldest) == (1, ())
    assert counts.odd == (f"oldest job: {NOPERM}",)


def test_a_queue_whose_lists_cannot_be_read_is_unread() -> None:
    assert read(BUSY | {"LLEN wait": NOPERM, "LLEN active": NOPERM}) is NOPERM


@pytest.mark.parametrize("named", READ_OF_BUSY)
def test_a_queue_that_has_moved_is_unread(named: str) -> None:
    moved = ReplyError("MOVED 1 10.0.0.1:6379")
    assert read(BUSY | {named: moved}) is moved


@pytest.mark.parametrize(
    ("meta", "limit", "odd"),
    [
        ([None, b"7", None, None], 7, ()),
        ([None, b"Infinity", None, None], None, ()),
        ([None, b"2.5", None, None], None, ("concurrency: '2.5' is not a whole number",)),
        ([None, b"a" * 99, None, None], None, (f"concurrency: {'a' * 40!r} is not a whole number",)),
        ([None, None, b"1e2", None], None, ("rate limit: '1e2' is not a whole number",)),
    ],
)
def test_an_odd_number_in_meta_costs_its_own_figure(meta: Reply, limit: int | None, odd: tuple[str]) -> None:
    counts = counted(BUSY | {"HMGET meta": meta})
    assert (counts.jobs.waiting, counts.concurrency_limit, counts.odd) == (3, limit, odd)


# --- ages ---


def times(counts: Counts, replies: list[Reply]) -> Ages:
    """The ages from these replies to the commands for jobs."""
    read_details = with_details(counts, replies, NOW_MS, far=True)
    assert not isinstance(read_details, ReplyError)
    return ages(counts, read_details[1], NOW_MS)


def waits(fields: Reply, *others: Reply) -> float | None:
    replies = [fields, *others]
    counts = counted({"LINDEX wait -1": b"1"})._replace(oldest=(b"1",) * len(replies))
    seconds = times(counts, replies)
    assert seconds[1:] == (None, None, None)
    return seconds.oldest


def job(added: float, *, opts: object = None, tried: int | None = None, tries: int = 0) -> Reply:
    stamp = f"{NOW_MS - added * 1000:.0f}".encode()
    began = None if tried is None else f"{NOW_MS - tried * 1000}".encode()
    return [stamp, began, json.dumps(opts or {}).encode(), str(tries).encode() if tries else None, None]


def test_commands_for_the_oldest_jobs() -> None:
    both = counted(
        {"LINDEX wait -1": b"1", "LLEN paused": 1, "LINDEX paused -1": b"2", "LINDEX active": b"3"}
    )
    fields = ("timestamp", "processedOn", "opts", "atm", "attemptsMade")
    assert asked(both, far=True) == [
        ("HMGET", "bull:mail:1", *fields),
        ("HMGET", "bull:mail:2", *fields),
        ("HMGET", "bull:mail:3", "processedOn"),
    ]


def test_a_job_waits_since_it_was_added() -> None:
    assert waits(job(60)) == 60
    assert waits(job(60), job(90)) == 90
    assert waits(job(60), None) == 60


def test_a_delay_is_no_wait() -> None:
    assert waits(job(60, opts={"delay": 45_000})) == 15
    assert waits(job(60, opts={"delay": 0})) == 60
    assert waits(job(60, opts={"delay": 90_000})) == 0  # promoted before its time
    assert waits(job(60, opts={"delay": "soon"})) == 60
    assert waits([b"%d" % (NOW_MS - 60_000), None, b'{"delay"', None, None]) == 60


def test_a_job_that_is_tried_again_waits_since_its_last_try() -> None:
    assert waits(job(3600, tried=30, tries=2, opts={"delay": 5})) == 30


def test_a_job_retried_by_hand_has_no_age() -> None:
    assert waits(job(604_800, tries=3)) is None
    assert waits([b"1", None, b"{}", None, b"1"]) is None


def test_a_producers_clock_may_be_ahead() -> None:
    assert waits(job(-60)) == 0


@pytest.mark.parametrize("reply", [None, NOPERM, [None] * 5, [b"x", None, b"{}", None, None], []])
def test_a_removed_job_has_no_age(reply: Reply) -> None:
    assert waits(reply) is None


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [([b"1699999990000"], 10.0), ([b"1700000001000"], 0.0), ([None], None), (NOPERM, None), (None, None)],
)
def test_the_longest_active_job(reply: Reply, seconds: float | None) -> None:
    assert times(counted({"LINDEX active": b"1"}), [reply]) == (None, seconds, None, None)


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        ([b"7", b"%d" % ((NOW_MS - 90_000) * 4096 + 5)], 90.0),
        ([b"7", b"%d" % ((NOW_MS + 1000) * 4096)], 0.0),
        ([], None),
        ([b"7", b"soon"], None),
        ([b"7", b"inf"], None),
        (NOPERM, None),
        (None, None),
    ],
)
def test_how_long_the_first_delayed_job_is_due(reply: Reply, seconds: float | None) -> None:
    counts = counted({"ZCARD delayed": 2, "ZCOUNT delayed -inf": 2, "LINDEX active": b"1"})
    assert asked(counts, far=True) == [
        ("HMGET", "bull:mail:1", "processedOn"),
        ("ZRANGE", "bull:mail:delayed", "0", "0", "WITHSCORES"),
    ]
    late = None if seconds is None else pytest.approx(seconds, abs=0.001)
    assert times(counts, [[b"%d" % (NOW_MS - 2000)], reply]) == (None, 2.0, late, None)


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        ([b"parent", b"%d" % (NOW_MS - 90_000)], 90.0),
        ([b"parent", b"%d" % (NOW_MS + 5_000)], 0.0),
        ([], None),
        ([b"parent", b"inf"], None),
        (NOPERM, None),
    ],
)
def test_the_first_parent_waits_for_its_children(reply: Reply, seconds: float | None) -> None:
    counts = counted({"ZCARD waiting-children": 2, "ZCARD delayed": 1, "ZCOUNT delayed -inf": 1})
    assert asked(counts, far=True) == [
        ("ZRANGE", "bull:mail:delayed", "0", "0", "WITHSCORES"),
        ("ZRANGE", "bull:mail:waiting-children", "0", "0", "WITHSCORES"),
    ]
    due: Reply = [b"job", b"%d" % ((NOW_MS - 3000) * 4096)]
    assert times(counts, [due, reply])[3] == seconds
