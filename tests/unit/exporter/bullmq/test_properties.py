"""What holds for any name, any job and any answer."""

from __future__ import annotations

import base64
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.clients import client_names
from exporter.bullmq.counts import (
    REPLIES,
    TAIL_REPLIES,
    Counts,
    plan_queue,
    read_counts,
    with_tails,
)
from exporter.bullmq.details import Moment, details, with_details
from exporter.bullmq.keys import base, candidate_of, slot_of, worker_queues
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.queues import QueueId
from tests.support.ages import ages

NOW_MS = 1_700_000_000_000
MAIL = QueueId("bull", "mail")
IDLE: list[Reply] = [*[0] * 9, [None, None, None, None], *[None] * 2, -2]
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=":"), min_size=1)
PREFIXES = st.sampled_from(["bull", "shop:eu", "{bull}", "b*ll"])
BULKS = st.none() | st.binary()
ANSWERS: st.SearchStrategy[Any] = st.one_of(BULKS, st.integers(), st.lists(BULKS | st.integers()))


def read(replies: list[Reply]) -> Counts:
    counts = read_counts(replies)
    assert isinstance(counts, Counts)
    return counts


def keys_of(packed: bytes) -> list[bytes]:
    reader = hiredis.Reader()
    reader.feed(packed)
    keys = []
    while (command := reader.gets()) is not False:
        keys.append(command[1])
    return keys


@given(PREFIXES, NAMES, st.sampled_from(["meta", "id"]))
def test_a_key_leads_back_to_its_queue(prefix: str, name: str, key: str) -> None:
    assert candidate_of(f"{prefix}:{name}:{key}", (prefix,)) == QueueId(prefix, name)
    assert candidate_of(f"{prefix}:{name}:{key}", ()) == QueueId(prefix, name)


@given(PREFIXES, NAMES, st.sampled_from(["", ":w:", ":w:anna", ":w:a:w:b"]))
def test_a_name_comes_through_nodes_encoding(prefix: str, name: str, suffix: str) -> None:
    client = f"{prefix}:{base64.b64encode(name.encode()).decode()}{suffix}"
    assert worker_queues(client, (prefix,))[0] == QueueId(prefix, name)
    assert worker_queues(client, ())[0] == QueueId(prefix, name)


@given(st.text())
def test_no_connections_name_is_too_odd(client: str) -> None:
    assert all(queue.prefix == "bull" and queue.name for queue in worker_queues(client, ("bull",)))


@given(st.binary())
def test_any_client_list_can_be_read(raw: bytes) -> None:
    assert all(count > 0 for count in client_names(raw).connections.values())


@given(NAMES, st.sampled_from(["wait", "meta", "{other}", "7"]))
def test_keys_of_a_tagged_prefix_share_a_slot(name: str, suffix: str) -> None:
    assert slot_of(base(QueueId("{bull}", name)) + suffix) == slot_of("bull")


@given(NAMES)
def test_every_command_is_about_a_key_of_its_queue(name: str) -> None:
    request = plan_queue(QueueId("bull", name)).request
    keys = keys_of(request.packed)
    assert len(keys) == request.replies == REPLIES
    assert all(key.startswith(f"bull:{name}:".encode()) for key in keys)


@given(NAMES, st.lists(st.binary(), max_size=2), BULKS)
def test_any_job_can_be_read(name: str, oldest: list[bytes], longest: bytes | None) -> None:
    counts = read(IDLE)._replace(oldest=tuple(oldest), longest=longest)
    commands = details(plan_queue(QueueId("bull", name)), counts, Moment(NOW_MS))
    jobs = [*oldest, *([] if longest is None else [longest])]
    assert keys_of(b"".join(commands)) == [f"bull:{name}:".encode() + job for job in jobs]
    assert len(commands) == len(jobs)


@pytest.mark.parametrize("place", range(REPLIES))
@pytest.mark.parametrize("message", ["NOPERM no", "WRONGTYPE x", "MOVED 1 a:1"])
def test_an_error_concerns_its_part(place: int, message: str) -> None:
    replies = list(IDLE)
    replies[place] = ReplyError(message)
    broken = read_counts(replies)
    assert message in (str(broken) if isinstance(broken, ReplyError) else broken.odd[0])


BUSY: st.SearchStrategy[list[Any]] = st.tuples(
    *[st.integers(0, 9)] * 9,
    st.tuples(*[st.none() | st.just(b"7")] * 4).map(list),
    *[st.none() | st.just(b"0:1") | st.just(b"9")] * 2,
    st.integers(-2, 9),
).map(list)


@given(BUSY)
def test_the_parts_of_a_queue_are_the_same_one_by_one(replies: list[Any]) -> None:
    """One part that is odd makes all parts of a queue be read one by one."""
    odd = [*replies[:8], ReplyError("NOPERM no"), *replies[9:]]
    counts, partly = read(replies), read(odd)
    assert partly == counts._replace(schedulers=None, odd=("repeat: NOPERM no",))


@given(st.lists(ANSWERS, min_size=TAIL_REPLIES, max_size=TAIL_REPLIES))
def test_a_second_read_never_counts_more_jobs_or_less_than_none(replies: list[Any]) -> None:
    counts = read(IDLE)
    counts = counts._replace(jobs=counts.jobs._replace(waiting=1))
    looked = with_tails(counts, replies)
    assert isinstance(looked, ReplyError) or (looked.jobs.waiting in {0, 1} and len(looked.oldest) <= 2)


@given(st.lists(ANSWERS, min_size=4, max_size=4))
def test_ages_are_never_negative_whatever_is_answered(replies: list[Any]) -> None:
    counts = read(IDLE)._replace(oldest=(b"1", b"2"), longest=b"3", delayed_overdue=1)
    counts = counts._replace(jobs=counts.jobs._replace(delayed=1))
    read_details = with_details(counts, replies, NOW_MS, far=True)
    assert not isinstance(read_details, ReplyError)
    assert all(age is None or age >= 0 for age in ages(counts, read_details[1], NOW_MS))


@pytest.mark.parametrize("opts", [b'{"delay":1' + b"0" * 400 + b"}", b'{"delay":' + b"[" * 200_000])
def test_options_beyond_what_python_can_hold_cost_nothing_else(opts: bytes) -> None:
    """Whoever adds a job writes its options, and one job must not cost all queues their collection."""
    counts = read(IDLE)._replace(oldest=(b"1",), longest=b"2")
    job: Reply = [b"%d" % (NOW_MS - 5000), None, opts, None, None]
    read_details = with_details(counts, [job, [b"%d" % (NOW_MS - 2500)]], NOW_MS)
    assert not isinstance(read_details, ReplyError)
    assert ages(counts, read_details[1], NOW_MS).longest == 2.5
