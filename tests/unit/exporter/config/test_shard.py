from __future__ import annotations

import pytest

from exporter.config.shard import MOST_SHARDS, QueueShard, parse_shard


@pytest.mark.parametrize(
    ("text", "shard"),
    [("1/1", (1, 1)), ("2/5", (2, 5)), (" 5/5 ", (5, 5)), (f"1/{MOST_SHARDS}", (1, MOST_SHARDS))],
)
def test_a_shard(text: str, shard: tuple[int, int]) -> None:
    assert parse_shard(text) == QueueShard(*shard)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0/5", "the shards are 1/5 to 5/5"),
        ("6/5", "the shards are 1/5 to 5/5"),
        ("2/0", f"there are 1 to {MOST_SHARDS} shards"),
        (f"1/{MOST_SHARDS + 1}", f"there are 1 to {MOST_SHARDS} shards"),
        *(
            (text, "such as 2/5")
            for text in ("a", "", "2", "2/", "/5", "-1/5", "1.0/2", "2/5/7", "²/5", "1/ 5")
        ),
    ],
)
def test_what_is_no_shard(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_shard(text)


def test_the_first_one_reads_what_is_there_once() -> None:
    assert [QueueShard(number, 3).first for number in (1, 2, 3)] == [True, False, False]
    assert [QueueShard(1, count).divided for count in (1, 2)] == [False, True]
