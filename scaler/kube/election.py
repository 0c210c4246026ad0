"""Who leads, by a Lease of coordination.k8s.io: what its record says, and what to write in it. Pure.

Clocks of machines differ, so the times in the record are for people: a follower counts from when it saw the
record change, a leader from before it sent its renewal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from scaler.kube.objects import Json, api_time

_RELEASED_SECONDS: Final = 1


@dataclass(frozen=True, slots=True)
class Record:
    """A Lease. An empty holder: it is free. `version` changes with every write."""

    holder: str
    seconds: float
    version: str
    transitions: int = 0
    acquired: str | None = None


@dataclass(frozen=True, slots=True)
class Watched:
    """A record, and when (seconds on our own clock) it was first seen as it is."""

    record: Record
    since: float

    def seen(self, record: Record, now: float) -> Watched:
        """It was read again."""
        return self if record.version == self.record.version else Watched(record, now)

    def free_at(self) -> float:
        """When it may be taken: at once if nobody holds it, else when its holder was silent for its time."""
        return self.since if not self.record.holder else self.since + self.record.seconds


def record_of(data: Json) -> Record:
    """Of a Lease; one without a spec is free. Raises ValueError."""
    meta, spec = data.get("metadata"), data.get("spec") or {}
    if not isinstance(meta, Mapping) or not isinstance(spec, Mapping):
        raise ValueError("no Lease")  # noqa: TRY004  # it is data
    seconds = spec.get("leaseDurationSeconds")
    return Record(
        holder=str(spec.get("holderIdentity") or ""),
        seconds=float(seconds) if isinstance(seconds, int) else 0.0,
        version=str(meta.get("resourceVersion", "")),
        transitions=int(spec.get("leaseTransitions") or 0),
        acquired=spec.get("acquireTime"),
    )


def held(record: Record | None, identity: str, seconds: int, at: float) -> Record:
    """The record after `identity` took or renewed it at `at` (unix seconds)."""
    moment = api_time(at, micro=True)
    if record is None:
        return Record(identity, seconds, "", 0, moment)
    if record.holder == identity:
        return replace(record, seconds=seconds)
    return Record(identity, seconds, record.version, record.transitions + 1, moment)


def released(record: Record) -> Record:
    """The record after its holder let go."""
    return replace(record, holder="", seconds=_RELEASED_SECONDS)


def lease_body(name: str, record: Record, data: Json | None, at: float) -> dict[str, Any]:
    """The Lease to write: `data` as it was read, with this record. A version that is stale is refused."""
    meta = dict((data or {}).get("metadata") or {"name": name})
    if record.version:
        meta["resourceVersion"] = record.version
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": meta,
        "spec": {
            "holderIdentity": record.holder,
            "leaseDurationSeconds": int(record.seconds),
            "acquireTime": record.acquired,
            "renewTime": api_time(at, micro=True),
            "leaseTransitions": record.transitions,
        },
    }
