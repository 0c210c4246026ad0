"""Whether a candidate is a queue, and which library made it, by the types of its keys. Without I/O.

Other applications have keys called `...:meta` and `...:id` too. A queue is what has marks that only BullMQ or
Bull (its predecessor) leave, not what has a name like a queue's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from exporter.snapshot.queues import Library

KEY_TYPES: Final[Mapping[str, str]] = {
    "meta": "hash",
    "id": "string",
    "events": "stream",
    "wait": "list",
    "active": "list",
    "paused": "list",
    "delayed": "zset",
    "prioritized": "zset",
    "waiting-children": "zset",
    "completed": "zset",
    "failed": "zset",
    "repeat": "zset",
    "priority": "zset",
    "marker": "zset",
    "pc": "string",
    "stalled": "set",
    "stalled-check": "string",
    "meta-paused": "string",
}
"""The keys of a queue, and the type that Redis reports for each (TYPE)."""

OTHER_KEYS: Final = ("waiting", "jobs", "succeeded", "stalling", "stallBlock")
"""Keys of Bee-Queue, whose other keys have the names and types of Bull's."""

TYPED_KEYS: Final = (*KEY_TYPES, *OTHER_KEYS)
"""The keys whose types are the evidence."""

_ONLY_BULLMQ: Final = ("events", "prioritized", "waiting-children", "marker", "pc")
_NOT_PROVING: Final = ("meta", "stalled", "stalled-check", "pc", "marker")  # they remain without a queue


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a candidate. `types` has the keys that exist; `version` and `max_len_events` are those
    fields of its `meta`.

    `event`: an entry of its stream begins with BullMQ's field; `job`: one of its jobs has the fields that
    both libraries write; None where that was not read. `worker`: a connection has the name of its worker.
    """

    types: Mapping[str, str]
    version: str = ""
    max_len_events: str = ""
    event: bool | None = None
    job: bool | None = None
    worker: bool = False

    @property
    def marked(self) -> bool:
        """Whether `meta` is as BullMQ writes it, in Node and in other languages."""
        return self.version.startswith("bullmq") or self.max_len_events.isdigit()


@dataclass(frozen=True, slots=True)
class NotAQueue:
    """Why a candidate is no queue, in one sentence. `held`: how many of its keys exist; None: not known."""

    why: str
    held: int | None = None


NO_KEYS: Final = NotAQueue("it has no keys")

Classification: TypeAlias = Library | NotAQueue


def classify(evidence: Evidence) -> Classification:
    """The library that made the queue, or why it is none.

    BullMQ's own marks decide even if a key has another type: that is one odd part of a real queue. Without
    them every key must have the type of a queue's, and a job, a pause or a worker must prove it.
    """
    types = evidence.types
    if evidence.marked or evidence.event:
        proven = any(types.get(key) == KEY_TYPES[key] for key in KEY_TYPES if key not in _NOT_PROVING)
        return "bullmq" if proven or evidence.worker else NotAQueue("it has a meta key and nothing else")
    for key, kind in types.items():
        if key in OTHER_KEYS:
            return NotAQueue(f"it has a key called {key}, which no queue has")
        if kind != KEY_TYPES.get(key, kind):
            return NotAQueue(f"its {key} is a {kind}, and that of a queue is a {KEY_TYPES[key]}")
    kept = any(key in types for key in ("stalled-check", "meta-paused"))
    if evidence.job or (kept and "id" in types):
        return "bullmq" if any(key in types for key in _ONLY_BULLMQ) else "bull"
    if evidence.worker and types:
        # Bull counts `id` up with its first job and writes no meta; before it, both libraries leave the same.
        return "bull" if "id" in types and "events" not in types else "bullmq"
    return NotAQueue("it has nothing that only BullMQ or Bull writes") if types else NO_KEYS


def needs_a_closer_look(evidence: Evidence) -> bool:
    """Whether an entry of the stream or a job, which were not read, could make it a queue."""
    unread = evidence.event is None and evidence.job is None
    return unread and not evidence.marked and not isinstance(_if_proven(evidence), NotAQueue)


def _if_proven(evidence: Evidence) -> Classification:
    """The classification if one of its jobs were as the libraries write them."""
    held = any(key in evidence.types for key in KEY_TYPES if key not in (*_NOT_PROVING, "id"))
    if not held:
        return NotAQueue("")
    return classify(Evidence(evidence.types, job=True, worker=evidence.worker))
