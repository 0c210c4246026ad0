"""All families, in the order of the exposition."""

from __future__ import annotations

from typing import Final

from exporter.metrics import bullmq, cluster, events, health, host, internal, memory, probes, redis
from exporter.metrics.family import AnyFamily

FAMILIES: Final[tuple[AnyFamily, ...]] = (
    *health.FAMILIES,
    *redis.FAMILIES,
    *cluster.FAMILIES,
    *bullmq.FAMILIES,
    *events.FAMILIES,
    *memory.FAMILIES,
    *host.FAMILIES,
    *probes.FAMILIES,
    *internal.FAMILIES,
)
