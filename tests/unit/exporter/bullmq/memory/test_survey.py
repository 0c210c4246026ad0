from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from itertools import cycle
from math import isfinite
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.memory.commands import SIZES_COMMANDS, USAGE_COMMANDS, seconds_between, timed
from exporter.bullmq.memory.survey import Survey, survey
from exporter.redis.protocol import Reply, ReplyError, pack_request
from exporter.redis.redirect import split_request
from exporter.snapshot.queues import QueueId

MAIL, FLOWS = QueueId("bull", "mail"), QueueId("bull", "flows")
Answer = Callable[[tuple[bytes, ...]], Reply]


class Keys:
    """Lists, sets and the bytes of keys, as a server has them."""

    def __init__(self) -> None:
        self.lists: dict[bytes, list[bytes]] = {}
        self.bytes: dict[bytes, int] = {}
        self.refused: Mapping[bytes, ReplyError] = {}
        self.commands = 0
        self.largest = 0

    def add(self, queue: QueueId, key: str, jobs: Mapping[str, int], before: str = "") -> None:
        base = f"{queue.prefix}:{queue.name}:"
        self.lists[(base + key).encode()] = [job.encode() for job in jobs]
        self.bytes[(base + key).encode()] = 100
        self.bytes |= {f"{base}{before}{job}".encode(): size for job, size in jobs.items()}

    def answer(self, command: tuple[bytes, ...]) -> Reply:
        verb = command[0]
        key = command[2] if verb == b"MEMORY" else command[1]
        for start, error in self.refused.items():
            if key.startswith(start) or verb == start:
                return error
        members = self.lists.get(key, [])
        if verb in (b"LLEN", b"ZCARD"):
            return len(members)
        if verb == b"MEMORY":
            assert command[3:] == (b"SAMPLES", b"64")
            return self.bytes.get(key)
        rank = int(command[2])
        found = members[rank] if rank < len(members) else None
        return found if verb == b"LINDEX" else [] if found is None else [found]

    def survey(
        self, *queues: QueueId, most: int = 1000, after: Callable[[], object] = lambda: None
    ) -> Survey:
        """Answer all requests of a survey; `after` is called after the first."""
        requests = survey(queues, most, random.Random(1).random)
        request = next(requests)
        while True:
            commands = split_request(request)
            self.commands += len(commands)
            self.largest = max(self.largest, len(commands))
            replies = [self.answer(tuple(command)) for command in commands]
            after()
            try:
                request = requests.send(replies)
            except StopIteration as ended:
                return cast("Survey", ended.value)


@pytest.fixture
def keys() -> Keys:
    return Keys()


def test_jobs_and_what_belongs_to_them_by_state(keys: Keys) -> None:
    keys.add(MAIL, "wait", {"1": 1000, "2": 3000})
    keys.add(MAIL, "paused", {"3": 500})
    keys.add(MAIL, "completed", {"4": 700})
    keys.add(MAIL, "repeat", {"hourly": 250}, before="repeat:")
    keys.bytes |= {b"bull:mail:1:logs": 50, b"bull:mail:2:dependencies": 40, b"bull:mail:events": 9000}
    keys.bytes |= {b"bull:mail:meta": 80, b"bull:mail:id": 20, b"bull:mail:metrics:completed": 30}
    states = keys.survey(MAIL).measured[MAIL]
    assert {name: state.bytes for name, state in states.items()} == {
        "waiting": 1000 + 3000 + 500 + 50 + 40 + 200,
        "completed": 700 + 100,
        "schedulers": 250 + 100,
        "events": 9000,
        "other": 130,
    }
    assert (states["waiting"].jobs, states["waiting"].samples, states["waiting"].error) == (3, 3, 0.0)
    assert (states["events"].jobs, states["completed"].older) == (None, None)


def test_a_sample_of_many_jobs_is_near_to_all_and_a_request_small(keys: Keys) -> None:
    sizes = {str(job): 5000 if job < 30_000 else 300 for job in range(60_000)}
    keys.add(MAIL, "completed", sizes)
    keys.add(FLOWS, "wait", {f"w{job}": 100 + job % 7 for job in range(2000)})
    measured = keys.survey(MAIL, FLOWS, most=2000).measured
    completed = measured[MAIL]["completed"]
    assert completed.bytes == pytest.approx(sum(sizes.values()), rel=0.02)
    assert completed.older == pytest.approx(sum(sizes.values()) - 1000 * 300, rel=0.02)
    assert sum(state.samples for queue in measured.values() for state in queue.values()) <= 2000
    assert keys.commands <= 2 * SIZES_COMMANDS + 2000 * (1 + USAGE_COMMANDS)
    assert keys.largest <= 500


def test_jobs_that_are_gone_meanwhile_take_nothing(keys: Keys) -> None:
    keys.add(MAIL, "wait", {str(job): 1000 for job in range(1000)})

    def taken() -> None:
        del keys.lists[b"bull:mail:wait"][500:]

    waiting = keys.survey(MAIL, most=400, after=taken).measured[MAIL]["waiting"]
    assert waiting.bytes == pytest.approx(500 * 1000, rel=0.05)


def test_a_queue_that_is_refused_is_named_and_the_others_are_measured(keys: Keys) -> None:
    keys.add(MAIL, "wait", {"1": 1000})
    keys.add(FLOWS, "wait", {"1": 1000})
    keys.refused = {b"bull:flows:": ReplyError("NOPERM No permissions to access a key")}
    result = keys.survey(MAIL, FLOWS)
    assert (list(result.measured), result.unread) == (
        [MAIL],
        {FLOWS: "NOPERM No permissions to access a key"},
    )


def test_a_queue_that_moves_during_the_survey_is_left_out(keys: Keys) -> None:
    keys.add(MAIL, "wait", {"1": 1000})
    keys.add(FLOWS, "wait", {"1": 1000})

    def moved() -> None:
        keys.refused = {b"bull:flows:": ReplyError("MOVED 1 10.0.0.1:7001")}

    result = keys.survey(MAIL, FLOWS, after=moved)
    assert (list(result.measured), list(result.unread)) == ([MAIL], [FLOWS])


def test_without_the_command_nothing_more_is_asked(keys: Keys) -> None:
    queues = [QueueId("bull", f"q{number}") for number in range(1000)]
    keys.refused = {b"MEMORY": ReplyError("ERR unknown command 'MEMORY'")}
    result = keys.survey(*queues)
    assert not result.measured
    assert len(result.unread) == 1000
    assert keys.commands <= 500


def test_a_key_of_another_type_is_left_out(keys: Keys) -> None:
    keys.add(MAIL, "wait", {"1": 1000})
    keys.refused = {b"LLEN": ReplyError("WRONGTYPE Operation against a key holding the wrong kind of value")}
    states = keys.survey(MAIL).measured[MAIL]
    assert "waiting" not in states


def test_no_queue_and_an_empty_one(keys: Keys) -> None:
    states = keys.survey(MAIL).measured[MAIL]
    assert {name: state.bytes for name, state in states.items()} == {"events": 0.0, "other": 0.0}


def test_a_request_between_two_looks_at_the_clock() -> None:
    request = timed([pack_request([("PING",)])])
    assert [command[0] for command in split_request(request)] == [b"TIME", b"PING", b"TIME"]
    assert seconds_between([b"100", b"500000"], [b"101", b"250000"]) == pytest.approx(0.75)
    odd_ones: list[Reply] = [None, ReplyError("NOPERM"), [b"1"], [b"x", b"y"], [b"9" * 400, b"1"], 7]
    for odd in odd_ones:
        assert seconds_between(odd, [b"101", b"0"]) is None
    assert seconds_between([b"101", b"0"], [b"100", b"0"]) is None  # the clock was set back


ANY_REPLY = st.recursive(
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.binary(max_size=8)
    | st.sampled_from([ReplyError("WRONGTYPE no"), ReplyError("MOVED 1 a:1"), ReplyError("NOPERM no")]),
    lambda replies: st.lists(replies, max_size=3),
    max_leaves=3,
)


@given(st.lists(ANY_REPLY, min_size=1, max_size=30), st.integers(1, 3))
def test_whatever_is_answered_is_read_or_left_out(answers: list[Reply], number: int) -> None:
    """Also a server that is none of Redis', and lists of 2**62 jobs: the samples are bounded all the same."""
    queues = [QueueId("bull", f"q{index}") for index in range(number)]
    requests = survey(queues, 200, random.Random(1).random)
    request, commands, replies = next(requests), 0, cycle(answers)
    result = None
    while result is None:
        commands += request.replies
        try:
            request = requests.send([next(replies) for _ in range(request.replies)])
        except StopIteration as ended:
            result = cast("Survey", ended.value)
    assert result.measured.keys() | result.unread.keys() == set(queues)
    assert commands <= number * SIZES_COMMANDS + (200 + 2 * 9 * number) * (1 + USAGE_COMMANDS)
    for states in result.measured.values():
        assert all(
            isfinite(state.bytes) and state.bytes >= 0 and state.error >= 0 for state in states.values()
        )
