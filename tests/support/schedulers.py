"""Schedulers and repeatable jobs of every library, as their users make them, and their conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeAlias

from exporter.config.health import HealthSettings
from exporter.health import assess
from exporter.snapshot.schedulers import Scheduler
from exporter.snapshot.whole import Snapshot
from lab.bull import Bull
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.driver import Driver
from lab.pybullmq import PyBullMQ
from service.catalogs import ENGLISH
from service.outcome import Ok
from tests.support.bullmq import Watch

Made: TypeAlias = tuple[str, Driver]
"""The name of a library, and its driver."""

HOUR_MS = 3_600_000
LIBRARIES: Final[dict[str, Callable[[str], Driver]]] = {
    "bull 3": lambda url: Bull(3, url=url),
    "bull 4": lambda url: Bull(4, url=url),
    "bullmq 3": lambda url: BullMQ(3, url=url),
    "bullmq 4": lambda url: BullMQ(4, url=url),
    "bullmq 5.0": lambda url: BullMQ("5.0", url=url),
    "bullmq 5.53": lambda url: BullMQ("5.53", url=url),
    "bullmq 5": lambda url: BullMQ(5, url=url),
    "bullmq 6": lambda url: BullMQ(6, url=url),
    "python": lambda url: PyBullMQ(url=url),
}
KEYED = ("bull 3", "bull 4", "bullmq 3", "bullmq 4", "bullmq 5.0")
"""Those whose members are the options themselves."""
REPEATABLE = (*KEYED, "bullmq 5.53", "bullmq 5")
"""Those whose `add` takes `repeat`."""
SOON = HealthSettings.model_validate(
    {"thresholds": {"scheduler_late_seconds": 1.0, "scheduler_missing_seconds": 0.2}}
)
LATER = HealthSettings.model_validate({"thresholds": {"scheduler_late_seconds": 10.0}})
CONDITIONS = ("scheduler_late", "scheduler_without_next", "scheduler_duplicate")


def schedule(made: Made, queue: str, name: str = "report", **repeat: Any) -> None:
    """Schedule a job as the library's users do: by an id of their own, or as a repeatable job."""
    library, driver = made
    if library in KEYED:
        if library.startswith("bull ") and "pattern" in repeat:
            repeat["cron"] = repeat.pop("pattern")
        driver.queue(queue, "add", name, {}, {"repeat": repeat})
    else:
        driver.upsert_scheduler(queue, name, **repeat)


def named(made: Made, what: str) -> str:
    return f"{what}-{made[0].replace(' ', '-')}"


def the_only(monitor: Watch, queue: str) -> Scheduler:
    (scheduler,) = monitor.read_schedulers(queue).values()
    return scheduler


def conditions(monitor: Watch, queue: str, settings: HealthSettings = SOON) -> dict[str, str]:
    """The conditions of this queue's schedulers, after another round: what is measured, and the advice."""
    monitor.read_schedulers(queue)
    state = monitor.collect()
    only = tuple(each for each in state.queues if each.id.name == queue)
    snapshot = Snapshot(0.0, bullmq=Ok(replace(state, queues=only)))
    return {
        issue.name: f"{ENGLISH.render(issue.measured)} | {ENGLISH.render(issue.recommendation)}"
        for issue in assess(snapshot, settings).issues
        if issue.name in CONDITIONS
    }


def until(monitor: Watch, queue: str, expected: set[str], seconds: float = 12) -> dict[str, str]:
    """Wait until the queue's schedulers have exactly these conditions."""
    found: list[dict[str, str]] = []

    def reached() -> bool:
        found[:] = [conditions(monitor, queue)]
        return found[0].keys() == expected

    wait_until(reached, what=f"{queue} has {expected or 'no condition'}", seconds=seconds)
    return found[0]
