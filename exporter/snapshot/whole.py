"""The result of one collection, frozen; metrics, health, page and commands are functions of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.snapshot.host import HostState, ProcessState
from exporter.snapshot.probes import ProbeState
from exporter.snapshot.queues import BullMQState
from exporter.snapshot.redis import RedisState
from service.outcome import Outcome


@dataclass(frozen=True)
class Snapshot:
    """One collection. A part is None if it is switched off, and `Failed` if it could not be read.

    `number` counts the collections: `taken_at` is by a clock that may be set back.
    """

    taken_at: float
    redis: Outcome[RedisState] | None = None
    bullmq: Outcome[BullMQState] | None = None
    host: Outcome[HostState] | None = None
    process: Outcome[ProcessState] | None = None
    probes: Outcome[Mapping[str, ProbeState | None]] | None = None
    number: int = 0

    def parts(self) -> dict[str, Outcome[object]]:
        """Every part that is switched on, by the name of its source."""
        named: dict[str, Outcome[object] | None] = {
            "redis": self.redis,
            "bullmq": self.bullmq,
            "host": self.host,
            "process": self.process,
            "probes": self.probes,
        }
        return {name: outcome for name, outcome in named.items() if outcome is not None}
