"""When a collection sees a change of a queue that stood still, step by step of what looks at it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exporter.bullmq.still import standing, unmoved
from exporter.bullmq.streams import stream
from exporter.snapshot.queues import BullMQState
from lab.deadline import wait_until
from service.clock import Deadline, monotonic
from tests.support.bullmq import Watch


def seen_at(monitor: Watch, seen: Callable[[BullMQState], bool], patch: pytest.MonkeyPatch) -> str:
    """By what the change was seen: the next `collection`, the look at `lists` that have jobs, the round of
    `discovery`, the `recount` for safety; "" if by none."""
    if seen(monitor.collect()):
        return "collection"
    soon = monotonic() + unmoved.CHECK_SECONDS
    with patch.context() as context:
        context.setattr(standing, "monotonic", lambda: soon)
        if seen(monitor.collect()):
            return "lists"
    monitor.discovery.discover_once(Deadline.after(20))
    if seen(monitor.collect()):
        return "discovery"
    later = monotonic() + 2 * unmoved.RECOUNT_SECONDS
    with patch.context() as context:
        context.setattr(standing, "monotonic", lambda: later)
        for module in (stream, standing):  # as if it had been read all the time
            context.setattr(module, "FOLLOWED_SECONDS", later)
        return "recount" if seen(monitor.collect()) else ""


def stand_still(monitor: Watch) -> None:
    """Follow and collect until no queue is counted."""
    monitor.read_all()
    wait_until(lambda: _stands(monitor), what="no queue is counted any more")


def _stands(monitor: Watch) -> bool:
    monitor.follow()
    monitor.collect()
    return not monitor.source.counted
