from __future__ import annotations

from exporter.bullmq.search.own import OwnRecords
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.queues import OwnCounts, QueueId

MAIL = QueueId("bull", "mail")
META: list[Reply] = [b"bullmq:6.7.0", b"10000", None, None, None, None]


def replies(
    *, concurrency: bytes | None = None, schedulers: Reply = 0, limiter: Reply = -2, ids: Reply = b"20"
) -> list[Reply]:
    return [[*META[:3], concurrency, *META[4:]], schedulers, limiter, [b"7"], [None], ids, 0]


def test_counts_are_those_that_there_are() -> None:
    own = OwnRecords()
    own.take(MAIL, replies(), 0.0)
    assert own.counts == {MAIL: OwnCounts(7, None, 20)}
    before = own.changes
    own.take(MAIL, replies(), 1.0)
    assert own.changes == before
    own.take(MAIL, [META, 0, -2, [None], ReplyError("NOPERM"), b"9" * 30, 3], 2.0)
    assert (own.counts, own.grouped) == ({MAIL: OwnCounts(None, None, None, 3)}, {MAIL})
    own.take(MAIL, [META, 0, -2, [None], [None], None, 0], 3.0)
    assert (own.counts, own.grouped, own.changes) == ({}, set(), before + 2)


def test_what_is_set_changes() -> None:
    own = OwnRecords()
    assert own.take(MAIL, replies(), 0.0)
    assert not own.take(MAIL, replies(ids=b"21"), 1.0)
    assert own.take(MAIL, replies(concurrency=b"3"), 2.0)
    assert own.take(MAIL, replies(concurrency=b"3", schedulers=1), 3.0)
    assert own.take(MAIL, replies(concurrency=b"3", schedulers=ReplyError("NOPERM")), 4.0)
    assert not own.take(MAIL, replies(concurrency=b"3", schedulers=ReplyError("NOPERM")), 5.0)
    assert own.settings_changes == 4


def test_a_limiter_that_runs_is_the_same_until_it_ends() -> None:
    own = OwnRecords()
    own.take(MAIL, replies(), 0.0)
    assert own.take(MAIL, replies(limiter=30_000), 10.0)
    assert not own.take(MAIL, replies(limiter=19_500), 20.0)
    assert own.take(MAIL, replies(limiter=25_000), 30.0), "another one"
    assert own.take(MAIL, replies(), 40.0)


def test_what_is_gone_is_forgotten() -> None:
    own, other = OwnRecords(), QueueId("bull", "other")
    for queue in (MAIL, other):
        own.take(queue, [META, 0, -2, [None], [None], b"1", 2], 0.0)
    own.keep_only({other: None})
    assert (set(own.counts), set(own.settings), own.grouped) == ({other}, {other}, {other})
    own.forget([other, MAIL])
    assert (own.counts, own.settings, own.grouped) == ({}, {}, set())
