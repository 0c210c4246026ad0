"""All families, in the order of the exposition."""

from __future__ import annotations

from typing import Final

from exporter.metrics import (
    bullmq,
    cluster,
    events,
    health,
    host,
    internal,
    job_names,
    memory,
    probes,
    redis,
)
from exporter.metrics.family import AnyFamily

FAMILIES: Final[tuple[AnyFamily, ...]] = (
    *health.FAMILIES,
    *redis.FAMILIES,
    *cluster.FAMILIES,
    *bullmq.FAMILIES,
    *events.FAMILIES,
    *job_names.FAMILIES,
    *memory.FAMILIES,
    *host.FAMILIES,
    *probes.FAMILIES,
    *internal.FAMILIES,
)
