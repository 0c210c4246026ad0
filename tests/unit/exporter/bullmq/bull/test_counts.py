from __future__ import annotations

import pytest

from exporter.bullmq.bull.counts import plan_bull_queue, read_bull, read_by_library
from exporter.bullmq.counts import REPLIES, Counts, plan_queue
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.queues import JobCounts, QueueId

QUEUE = QueueId("bull", "mail")
NAMES = (
    *("wait", "paused", "active", "delayed", "completed", "failed", "repeat", "meta-paused", "meta"),
    *("wait -1", "paused -1", "active -1", "limiter pttl"),
)
BUSY: dict[str, Reply] = dict(
    zip(NAMES, [1, 2, 3, 4, 5, 6, 7, 0, [None], b"w", b"p", b"a", 1500], strict=True)
)
READ = Counts(
    JobCounts(3, 3, 4, 0, 0, 5, 6), 7, False, None, 1.5, None, None, None, (b"w", b"p"), b"a", lists=(1, 2)
)


def read(**changed: Reply) -> Counts:
    counts = read_bull(
        list((BUSY | {name.replace("_", " "): reply for name, reply in changed.items()}).values())
    )
    assert isinstance(counts, Counts)
    return counts


def test_all() -> None:
    assert read() == READ
    assert len(NAMES) == REPLIES == plan_bull_queue(QUEUE).request.replies
    assert plan_bull_queue(QUEUE).request.packed.count(b"*") == REPLIES


@pytest.mark.parametrize(
    ("flag", "meta", "paused"),
    [
        (1, [b"1"], True),
        (1, [None], True),
        (0, [b"1"], True),
        (0, [None], False),
        (1, ReplyError("NOPERM no"), True),
        (ReplyError("NOPERM no"), [b"1"], True),
        (ReplyError("NOPERM no"), [None], None),
        (0, ReplyError("WRONGTYPE no"), None),
    ],
)
def test_paused(flag: Reply, meta: Reply, paused: bool | None) -> None:  # noqa: FBT001
    counts = read_bull(list((BUSY | {"meta-paused": flag, "meta": meta}).values()))
    assert isinstance(counts, Counts)
    assert (counts.paused, bool(counts.odd)) == (paused, paused is None)


def test_a_job_is_never_a_marker() -> None:
    assert read(wait=1, paused=0, **{"wait -1": b"0:5"}).jobs.waiting == 1


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("meta-paused", "meta")])
def test_one_part_costs_only_itself(name: str) -> None:
    counts = read(**{name: ReplyError("WRONGTYPE no")})
    assert counts.odd == (f"{name.split(maxsplit=1)[0]}: WRONGTYPE no",)
    same = [ours == theirs for ours, theirs in zip(counts[:-1], READ[:-1], strict=True)]
    assert same.count(False) == 2  # the part, and `odd`


def test_nothing_readable_and_moved() -> None:
    refused, moved = ReplyError("NOPERM no"), ReplyError("ASK 1 a:1")
    assert read_bull(list((BUSY | {"wait": refused, "active": refused}).values())) is refused
    assert read_bull(list((BUSY | {"failed": moved}).values())) is moved


def test_both_libraries() -> None:
    bullmq: list[Reply] = [*[0] * 9, [None] * 4, None, None, -2]
    first = read_by_library(plan_queue(QUEUE), bullmq)
    assert isinstance(first, Counts)
    assert first.jobs.waiting == 0
    assert read_by_library(plan_bull_queue(QUEUE), list(BUSY.values())) == READ
