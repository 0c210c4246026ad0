"""The keys of a BullMQ queue in Redis, and the names of its connections. Only this module knows them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from exporter.snapshot.queues import QueueId
from exporter.snapshot.redis import CLUSTER_SLOTS

DEFAULT_PREFIX: Final = "bull"
OWN_COUNT_COMMANDS: Final = (
    ("HMGET", "metrics:completed", "count"),
    ("HMGET", "metrics:failed", "count"),
    ("GET", "id"),
    ("ZCARD", "groups"),
)
"""BullMQ's own counts: jobs that ended (if the workers set `metrics`), calls that add a job, Pro's groups."""
DELAYED_FACTOR: Final = 0x1000
"""The score of a delayed job is its due time in ms times this factor, plus a tie breaker below the factor."""
QUEUE_KEYS: Final = (
    "id",
    "events",
    "wait",
    "active",
    "delayed",
    "prioritized",
    "paused",
    "waiting-children",
    "completed",
    "failed",
    "repeat",
)
"""A queue has at least one of these keys; a BullMQ that failed in a cluster leaves only `meta`."""

OWN_KEYS: Final = (
    "meta",
    "id",
    "pc",
    "marker",
    "limiter",
    "stalled",
    "stalled-check",
    "priority",
    "metrics:completed",
    "metrics:completed:data",
    "metrics:failed",
    "metrics:failed:data",
)
"""Keys of a queue, or of Bull, that have no jobs of their own and are not its event stream."""

JOB_PARTS: Final = (":logs", ":lock", ":dependencies", ":processed", ":failed", ":unsuccessful")
"""What the keys that belong to a job add to that of its hash."""

WORKER_KEYS: Final = ("meta", "marker", "stalled", "stalled-check")
"""What may be there of a queue that has workers and never had a job: they write `stalled-check`, for 30 s."""

_FOUND_BY: Final = (":meta", ":id")  # every queue has one: BullMQ writes meta, Bull only id
_NOT_WORKERS: Final = (":qe", ":qs")  # QueueEvents; v1's QueueScheduler
_GLOB: Final = frozenset("*?[]\\^-")


def base(queue: QueueId) -> str:
    """The prefix of all keys of a queue."""
    return f"{queue.prefix}:{queue.name}:"


def slot_of(key: str) -> int:
    """The cluster slot of a key: CRC16/XMODEM of its hash tag or of the whole key (Cluster specification)."""
    raw = key.encode("utf-8", "surrogateescape")
    tag = _tag(raw)
    return binascii.crc_hqx(raw if tag is None else tag, 0) % CLUSTER_SLOTS


def is_tagged(queue: QueueId) -> bool:
    """Whether all keys of the queue share a slot; otherwise BullMQ cannot work on a cluster."""
    return _tag(base(queue).encode("utf-8", "surrogateescape")) is not None


def scan_pattern(prefixes: Sequence[str]) -> str:
    """One MATCH pattern for the keys by which queues are found, under all prefixes (none: any prefix).

    A pattern has no alternatives: this one matches `:meta` and `:id`, and some other keys, which
    `candidate_of` leaves out. Glob characters of a prefix are escaped.
    """
    start = ""
    if len(prefixes) == 1:
        start = "".join("\\" + char if char in _GLOB else char for char in prefixes[0]) + ":"
    return f"{start}*:[im]*[da]"


def candidate_of(key: str, prefixes: Sequence[str]) -> QueueId | None:
    """The queue to which a `meta` or `id` key may belong; None for other keys.

    The prefix is the longest of `prefixes` that matches. Without any, it is all before the last colon of the
    rest: a queue's name has had no colon since BullMQ 5, and a prefix may have some.
    """
    if not key.endswith(_FOUND_BY):
        return None
    stem = key.rpartition(":")[0]
    if not prefixes:
        prefix, colon, name = stem.rpartition(":")
        return QueueId(prefix, name) if colon and name else None
    for prefix in sorted(prefixes, key=len, reverse=True):
        if stem.startswith(prefix + ":"):
            name = stem[len(prefix) + 1 :]
            return QueueId(prefix, name) if name else None
    return None


def worker_queues(client_name: str, prefixes: Sequence[str]) -> tuple[QueueId, ...]:
    """The queues whose worker may have a connection of this name, the likelier first; empty if not a worker.

    Node (and Rust, and Bull) write `prefix:base64(queue)`, followed by `:w:` and the worker's name if it has
    one. Python writes the queue's name unencoded, so a name that is also valid base64 has two meanings.
    Without `prefixes` all before the last colon is the prefix.
    """
    if client_name.endswith(_NOT_WORKERS):
        return ()
    head = client_name.partition(":w:")[0]
    if not prefixes:
        prefix, colon, plain = head.rpartition(":")
        return _meanings(prefix, plain) if colon else ()
    for prefix in sorted(prefixes, key=len, reverse=True):
        if client_name.startswith(prefix + ":"):
            return _meanings(prefix, client_name[len(prefix) + 1 :].partition(":w:")[0])
    return ()


def _meanings(prefix: str, plain: str) -> tuple[QueueId, ...]:
    decoded = _base64_text(plain)
    return tuple(QueueId(prefix, name) for name in (decoded, plain) if name)


def connection_name(queue: QueueId) -> str:
    """How the names of the connections of a queue's workers begin, but for Python's."""
    return f"{queue.prefix}:{base64.b64encode(queue.name.encode('utf-8', 'surrogateescape')).decode()}"


def is_python_name(client_name: str, queue: QueueId) -> bool:
    """Whether a worker's connection has the queue's name as Python writes it."""
    plain = f"{queue.prefix}:{queue.name}"
    return client_name == plain or client_name.startswith(plain + ":w:")


def is_pattern(text: str) -> bool:
    """Whether an entry of BULLMQ_QUEUES is a glob pattern rather than a name."""
    return any(char in text for char in "*?[")


def is_selected(queue: QueueId, entries: Sequence[str]) -> bool:
    """Whether a discovered queue is monitored: every queue, unless the settings have names or patterns."""
    return not entries or any(queue.name == entry or fnmatchcase(queue.name, entry) for entry in entries)


def _tag(raw: bytes) -> bytes | None:
    """The text between the first { and the next }; None if it is empty."""
    start = raw.find(b"{")
    end = raw.find(b"}", start + 1) if start >= 0 else -1
    return raw[start + 1 : end] if end > start + 1 else None


def _base64_text(text: str) -> str | None:
    """The decoded text if `text` is base64 exactly as an encoder writes it, else None."""
    try:
        raw = base64.b64decode(text, validate=True)
        return raw.decode() if base64.b64encode(raw).decode() == text else None
    except ValueError:
        return None
