"""Which data a server serves: the same on another connection, another one once it was restarted. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exporter.redis.protocol import Reply, pack_request

SERVED: Final = pack_request([("INFO", "server"), ("INFO", "replication")])
"""The commands for `served`: before Redis 7 INFO takes one section."""


def served(replies: Sequence[Reply]) -> tuple[bytes, bytes] | None:
    """The id of the run and that of the replication, from the replies to `SERVED`.

    A server that starts has another run, one that takes over or copies its data from another server another
    replication. None if that is not told: then another connection may lead to other data.
    """
    run, replication = (_field(reply, name) for reply, name in zip(replies, _FIELDS, strict=True))
    return (run, replication) if run and replication else None


_FIELDS: Final = (b"\nrun_id:", b"\nmaster_replid:")


def _field(reply: Reply, name: bytes) -> bytes:
    return reply.partition(name)[2].partition(b"\n")[0].strip() if isinstance(reply, bytes) else b""
