"""Leader election with a Lease of coordination.k8s.io: how its record is read, and what to write. Pure.

Clocks of machines differ, so the times in the record are for people: a follower counts from the moment when
it read a changed record, a leader from the moment before it sent its renewal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from scaler.kube.errors import of_object
from scaler.kube.objects import Json, api_time

_RELEASED_SECONDS: Final = 1


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A Lease. An empty `holder`: the lease is free. `version` changes with every write; `seconds` is the
    lease duration."""

    holder: str
    seconds: float
    version: str
    transitions: int = 0
    acquired: str | None = None


@dataclass(frozen=True, slots=True)
class ObservedRecord:
    """A record, and when (seconds on our own clock) this version of it was first read."""

    record: LeaseRecord
    since: float

    def observe(self, record: LeaseRecord, now: float) -> ObservedRecord:
        """The record was read again: `since` changes only with its version."""
        return self if record.version == self.record.version else ObservedRecord(record, now)

    def available_at(self) -> float:
        """When the lease may be acquired: at once without a holder, else when it was not renewed for its
        duration."""
        return self.since if not self.record.holder else self.since + self.record.seconds


@of_object
def record_of(data: Json) -> LeaseRecord:
    """The record of a Lease; a Lease without a spec is free. Raises ValueError."""
    meta, spec = data.get("metadata"), data.get("spec") or {}
    if not isinstance(meta, Mapping) or not isinstance(spec, Mapping):
        raise ValueError("not a Lease")  # noqa: TRY004  # it is data
    seconds = spec.get("leaseDurationSeconds")
    return LeaseRecord(
        holder=str(spec.get("holderIdentity") or ""),
        seconds=float(seconds) if isinstance(seconds, int) else 0.0,
        version=str(meta.get("resourceVersion", "")),
        transitions=int(spec.get("leaseTransitions") or 0),
        acquired=spec.get("acquireTime"),
    )


def acquire_or_renew(record: LeaseRecord | None, identity: str, seconds: int, at: float) -> LeaseRecord:
    """The record after `identity` acquired or renewed the lease at `at` (unix seconds)."""
    moment = api_time(at, micro=True)
    if record is None:
        return LeaseRecord(identity, seconds, "", 0, moment)
    if record.holder == identity:
        return replace(record, seconds=seconds)
    return LeaseRecord(identity, seconds, record.version, record.transitions + 1, moment)


def release(record: LeaseRecord) -> LeaseRecord:
    """The record after its holder released the lease."""
    return replace(record, holder="", seconds=_RELEASED_SECONDS)


def lease_body(name: str, record: LeaseRecord, data: Json | None, at: float) -> dict[str, Any]:
    """The Lease to write: `data` as it was read, with this record. The server refuses a stale version."""
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
