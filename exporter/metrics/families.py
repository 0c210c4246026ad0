"""Every family, in the order in which they are served."""

from __future__ import annotations

from typing import Final

from exporter.metrics import bullmq, cluster, health, host, internal, redis
from exporter.metrics.family import Family

FAMILIES: Final[tuple[Family, ...]] = (
    *health.FAMILIES,
    *redis.FAMILIES,
    *cluster.FAMILIES,
    *bullmq.FAMILIES,
    *host.FAMILIES,
    *internal.FAMILIES,
)
