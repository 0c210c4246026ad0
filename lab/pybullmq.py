"""PyPI's BullMQ, driven like npm's: the same verbs, in a process with an asyncio loop."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lab.driver import Driver, connection_of


class PyBullMQ(Driver):
    """One Python process with PyPI's bullmq, connected to a server (`url`) or a cluster (its addresses)."""

    def __init__(self, *, url: str | None = None, cluster: Sequence[str] = (), prefix: str = "bull") -> None:
        self.prefix = prefix
        settings = {"prefix": prefix, "connection": connection_of(url, cluster)}
        super().__init__(
            [sys.executable, "-m", "lab.pybullmq_driver"], name="bullmq for Python", settings=settings
        )
