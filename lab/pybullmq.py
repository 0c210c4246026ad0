"""PyPI's BullMQ with the same verbs as npm's, in a process with an asyncio loop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from lab.driver import Driver, connection_of


class PyBullMQ(Driver):
    """One Python process with PyPI's bullmq, connected to a server (`url`) or a cluster (its addresses)."""

    def __init__(self, *, url: str | None = None, cluster: Sequence[str] = (), prefix: str = "bull") -> None:
        self.prefix = prefix
        self._in_cluster = bool(cluster)
        settings = {"prefix": prefix, "connection": connection_of(url, cluster)}
        super().__init__(
            [sys.executable, "-m", "lab.pybullmq_driver"], name="bullmq for Python", settings=settings
        )

    def add_bulk(self, queue: str, count: int, *, name: str = "job", **opts: Any) -> None:
        """Add `count` jobs with the same options: one by one in a cluster, where it cannot pipeline."""
        if not self._in_cluster:
            super().add_bulk(queue, count, name=name, **opts)
            return
        for n in range(count):
            self.add(queue, name, {"n": n}, **opts)
