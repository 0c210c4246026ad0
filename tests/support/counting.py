"""When a collection sees a change of a queue that stood still, step by step of what looks at it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exporter.bullmq import standing, unmoved
from exporter.snapshot.queues import BullMQState
from service.clock import Deadline, monotonic
from tests.support.bullmq import Watch


def seen_at(monitor: Watch, seen: Callable[[BullMQState], bool], patch: pytest.MonkeyPatch) -> str:
    """By what the change was seen: the next `collection`, the look at `lists` that have jobs, the round of
    `discovery`, the `recount` for safety; "" if by none."""
    if seen(monitor.collect()):
        return "collection"
    with patch.context() as context:
        context.setattr(unmoved, "CHECK_SECONDS", 0.0)
        if seen(monitor.collect()):
            return "lists"
    monitor.discovery.discover_once(Deadline.after(20))
    if seen(monitor.collect()):
        return "discovery"
    later = monotonic() + 2 * unmoved.RECOUNT_SECONDS
    with patch.context() as context:
        context.setattr(standing, "monotonic", lambda: later)
        return "recount" if seen(monitor.collect()) else ""
