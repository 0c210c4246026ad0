from __future__ import annotations

import pytest

from exporter.bullmq.bull.jobs import Balance
from exporter.bullmq.bull.reading import (
    Lengths,
    kept_jobs_commands,
    largest,
    length_commands,
    lengths,
    result_size_commands,
)
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.queues import QueueId

QUEUE = QueueId("bull", "mail")
REFUSED = ReplyError("NOPERM no")


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([3, 1, 2, 4, b"9"], Lengths(9, 3, 4, 3, None)),
        ([None, 0, 0, 0, 0, []], Lengths(0, 0, 0, 0, [])),
        ([b"9", 0, 0, 0, 2, [b"7", b"8"]], Lengths(9, 0, 0, 2, [b"7", b"8"])),
        ([b"9", 0, 0, 0, 3, [b"7", b"8"]], Lengths(9, 0, 0, 3, None)),  # the reply is cut off
        ([REFUSED, 4, 1, REFUSED, 3, REFUSED], Lengths(None, None, 4, 3, None)),
        ([b"x", REFUSED, 1, 2, REFUSED, [b"7"]], Lengths(None, 3, None, None, None)),
        ([3, 1, 2, 4, b"9" * 5000], Lengths(None, 3, 4, 3, None)),
    ],
)
def test_lengths(replies: list[Reply], expected: Lengths) -> None:
    assert lengths(replies) == expected


def test_a_balance_needs_all_of_it() -> None:
    assert Lengths(9, 3, 4, 5, None).balance == Balance(9, 7, 5)
    for field in ("ids", "waiting", "delayed", "active"):
        assert Lengths(9, 3, 4, 5, None)._replace(**{field: None}).balance is None


def test_as_many_commands_as_are_read() -> None:
    for with_active in (False, True):
        commands = length_commands(QUEUE, with_active=with_active)
        answers: dict[object, Reply] = {"GET": b"1", "LRANGE": []}
        assert lengths([answers.get(verb, 0) for verb, *_ in commands]).ids == 1
    assert length_commands(QUEUE, with_active=True)[-1] == ("LRANGE", "bull:mail:active", 0, 999)


def test_sizes_of_kept_results() -> None:
    assert kept_jobs_commands(QUEUE) == [
        ("ZRANGE", "bull:mail:completed", -3, -1),
        ("ZRANGE", "bull:mail:failed", -3, -1),
    ]
    assert result_size_commands(QUEUE, [[b"7", b"8"], [b"9"]]) == [
        ("HSTRLEN", b"bull:mail:7", "returnvalue"),
        ("HSTRLEN", b"bull:mail:8", "returnvalue"),
        ("HSTRLEN", b"bull:mail:9", "failedReason"),
    ]
    assert result_size_commands(QUEUE, [REFUSED, []]) == []
    assert (largest([3, REFUSED, 9]), largest([REFUSED])) == (9, 0)
