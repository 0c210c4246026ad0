"""Which of several exporters watches a queue. Pure, and never to be changed: queues would move.

By prefix and name, not by slot: hash tags may put all queues into one slot, and without a cluster there are
none.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from exporter.bullmq.keys import base
from exporter.config.shard import QueueShard
from exporter.snapshot.queues import QueueId

_MULTIPLIER: Final = 2862933555777941757
_MASK: Final = (1 << 64) - 1


def owns(shard: QueueShard, queue: QueueId) -> bool:
    """Whether the queue is of this shard. Keys that two pairs of prefix and name may mean are of one."""
    return shard.shards == 1 or shard_number(queue, shard.shards) == shard.number


def shard_number(queue: QueueId, count: int) -> int:
    """The shard of a queue, from 1 to `count`: the jump consistent hash (Lamping and Veach, 2014) of the
    first 8 bytes, big-endian, of BLAKE2b-64 over the beginning of its keys.

    With one more shard one queue in `count` + 1 moves, to the new one; the others stay.
    """
    digest = blake2b(base(queue).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    key, bucket, following = int.from_bytes(digest, "big"), 0, 0
    while following < count:
        bucket = following
        key = (key * _MULTIPLIER + 1) & _MASK
        following = int((bucket + 1) * ((1 << 31) / ((key >> 33) + 1)))
    return bucket + 1
