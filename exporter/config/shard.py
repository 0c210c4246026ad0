"""Which part of the queues this exporter watches, where several divide them: `2/5` is the second of five."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MOST_SHARDS: Final = 1000
_FORM: Final = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


class QueueShard(NamedTuple):
    """The shard `number` of `shards`, both from 1. It is not a shard of a Redis Cluster."""

    number: int = 1
    shards: int = 1

    @property
    def divided(self) -> bool:
        """Whether there are others."""
        return self.shards > 1

    @property
    def first(self) -> bool:
        """Whether what is there once, Redis, the host and the endpoints, is its part."""
        return self.number == 1

    def __str__(self) -> str:
        return f"{self.number}/{self.shards}"


UNDIVIDED: Final = QueueShard()


def parse_shard(text: str) -> QueueShard:
    """The shard of a text such as `2/5`. Raises ValueError, with a text that says what is wrong."""
    parts = _FORM.fullmatch(text.strip())
    if parts is None:
        raise ValueError("should be the number of this exporter and of all, such as 2/5")
    number, count = int(parts[1]), int(parts[2])
    if not 1 <= count <= MOST_SHARDS:
        raise ValueError(f"there are 1 to {MOST_SHARDS} shards")
    if not 1 <= number <= count:
        raise ValueError(f"the shards are 1/{count} to {count}/{count}")
    return QueueShard(number, count)


def check_shard(text: str) -> str:
    """The text as it is, for a setting. Raises ValueError."""
    return str(parse_shard(text))
