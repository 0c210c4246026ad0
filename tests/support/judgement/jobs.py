"""Causes of the conditions of jobs: lost ones, endless ones, failed ones, and of their events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from unittest import mock

from exporter.bullmq import locks
from lab.bullmq import BullMQ
from tests.support.judgement.cause import Cause, Servers, World
from tests.support.judgement.work import STANDING, limits, served
from tests.support.work import SHORT_LOCK

_HOUR_MS: Final = 3_600_000
_BLIND: Final[Mapping[str, Any]] = {"skipStalledCheck": True, "lockDuration": 1000}
"""Options of a worker that gives back no job of another's."""
_ENDED: Final = 30
_BURST: Final = 1500
FAILURES: Final = 150
"""More than those of the alert and of the condition."""


def _killed(servers: Servers, queue: str, jobs: int, **options: Any) -> None:
    """A process with a worker that has these jobs, and is killed (SIGKILL)."""
    process = servers.kept.enter_context(BullMQ(url=servers.node.url))
    process.start_worker(queue, concurrency=jobs, behaviour={"hold": True}, **options)
    servers.jobs.add_bulk(queue, jobs)
    servers.jobs.wait_for_counts(queue, {"active": jobs})
    process.process.kill()


def _short_locks(servers: Servers) -> None:
    """As the workers': the exporter looks at the locks of jobs that are active for longer than one lives."""
    served("lost")(servers)
    for name, seconds in {"LOOK_SECONDS": 0.5, "LOCK_SECONDS": 1.0}.items():
        servers.kept.enter_context(mock.patch.object(locks, name, seconds))


def _lose(servers: Servers) -> None:
    """The workers that are left look for no stalled job."""
    servers.stop_workers("lost")
    _killed(servers, "lost", 1, **_BLIND)
    servers.start_worker("lost", **_BLIND)


def _give_back(servers: Servers) -> None:
    servers.start_worker("lost", **SHORT_LOCK)
    servers.jobs.wait_for_counts("lost", {"active": 0})


def _stall(servers: Servers) -> None:
    """The workers that are left give the jobs back, and complete them."""
    servers.stop_workers("stalling")
    _killed(servers, "stalling", 3, **SHORT_LOCK)
    servers.start_worker("stalling", maxStalledCount=5, **SHORT_LOCK)


def _remove(queue: str) -> Any:
    """With its workers and its events: nothing of the last hour is known of it then."""

    def end(servers: Servers) -> None:
        servers.stop_workers(queue)
        servers.jobs.obliterate(queue)

    return end


def _never_end(servers: Servers) -> None:
    servers.jobs.add_bulk("endless", _ENDED)
    servers.jobs.wait_for_counts("endless", {"completed": _ENDED + 1})
    servers.stop_workers("endless")
    servers.start_worker("endless", behaviour={"hold": True})
    servers.jobs.add("endless")


def _fail(servers: Servers) -> None:
    servers.stop_workers("failing")
    servers.start_worker("failing", concurrency=10, behaviour={"fail": True})
    servers.jobs.add_bulk("failing", _ENDED)
    servers.jobs.wait_for_counts("failing", {"failed": _ENDED})


def _outweigh(servers: Servers) -> None:
    servers.stop_workers("failing")
    servers.start_worker("failing", concurrency=10)
    servers.jobs.add_bulk("failing", 10 * _ENDED)


def _shorten(servers: Servers) -> None:
    """A stream that keeps few events, and jobs of which one call adds more than that."""
    servers.jobs.counts("short")
    servers.node.cli("hset", "bull:short:meta", "opts.maxLenEvents", 10)
    servers.jobs.add("short", delay=_HOUR_MS)


def _flood(servers: Servers) -> None:
    servers.jobs.add_bulk("short", _BURST, delay=_HOUR_MS)


def _fail_many(servers: Servers) -> None:
    servers.start_worker("refund", concurrency=20, behaviour={"fail": True})
    servers.jobs.add_bulk("refund", FAILURES)
    servers.jobs.wait_for_counts("refund", {"failed": FAILURES})


MANY_FAILURES: Final = Cause(
    "jobs fail and are kept",
    "failed_jobs_high",
    _fail_many,
    lambda servers: servers.jobs.queue("refund", "clean", 0, 1000, "failed"),
    settings={"bullmq": {"events": False}},  # which would count for an hour
)

_LOST: Final = (
    Cause(
        "the job of a killed worker, and nobody gives it back",
        "active_without_lock",
        _lose,
        _give_back,
        prepare=_short_locks,
        settings=limits("lost", no_lock_seconds=2),
    ),
    Cause(
        "jobs of a killed worker are given back",
        "jobs_stalled",
        _stall,
        _remove("stalling"),
        prepare=served("stalling"),
        rates_of="stalling",
    ),
    Cause(
        "a job is active far longer than the others were",
        "active_too_long",
        _never_end,
        lambda servers: servers.stop_workers("endless"),
        prepare=served("endless"),
        settings=limits("endless", active_seconds=2),
        rates_of="endless",
    ),
    Cause(
        "most jobs fail, until more of them do not",
        "failures_rising",
        _fail,
        _outweigh,
        prepare=served("failing"),
        rates_of="failing",
    ),
    Cause(
        "one call adds more events than the stream keeps",
        "events_lost",
        _flood,
        _remove("short"),
        prepare=_shorten,
        rates_of="short",
    ),
)

WORLDS: Final = (World("jobs that are lost, and queues that stand", _LOST + STANDING),)
