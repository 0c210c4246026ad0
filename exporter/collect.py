"""One collection: all sources at the same time, each in its own thread, under the caller's deadline."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeAlias

from exporter.bullmq.bull.follow import BullFollower
from exporter.bullmq.collect import BullMQSource
from exporter.bullmq.discover import Discovery
from exporter.bullmq.memory.watch import MemoryWatch
from exporter.bullmq.schedulers.watch import SchedulerWatch
from exporter.bullmq.streams.follow import Follower
from exporter.bullmq.work import WorkHistory
from exporter.config.settings import ExporterSettings
from exporter.host.collect import HostSource, collect_process
from exporter.probes.prober import Probers
from exporter.redis.collect import collect_redis
from exporter.redis.deployment import Deployment
from exporter.redis.watch import FailoverWatcher
from exporter.snapshot.host import ProcessState, PushState
from exporter.snapshot.queues import BullMQState
from exporter.snapshot.whole import Snapshot
from service.clock import Deadline, monotonic, now
from service.outcome import Failed, Ok, Outcome, UnreadableError
from service.threads import NoThreadError, start_thread

log = logging.getLogger(__name__)

SourceReader: TypeAlias = Callable[[Deadline], object]

_GRACE: Final = 0.2  # seconds after the deadline for a source that stopped at it to return its result
_HANGS: Final = 10.0  # seconds after its deadline, from which on a source hangs and is not waited for
_STILL_BUSY: Final = Failed("timeout", "still waiting for an earlier collection's answer")
_ENDED: Final = Failed("error", "the thread that read it ended without a result: no memory?")
_NO_THREAD: Final = Failed("error", str(NoThreadError()))


@dataclass(frozen=True)
class Parts:
    """The objects from which the sources are constructed."""

    settings: ExporterSettings
    deployment: Deployment
    discovery: Discovery
    watch: FailoverWatcher | None = None
    follower: Follower | None = None
    bull: BullFollower | None = None
    probers: Probers | None = None
    schedulers: SchedulerWatch | None = None
    work: WorkHistory | None = None
    push: Callable[[], PushState] | None = None
    memory: MemoryWatch | None = None


def _redis(parts: Parts) -> SourceReader | None:
    if not parts.settings.queue_shard.first:
        return None
    return lambda deadline: collect_redis(parts.deployment, deadline, parts.watch)


def _host(parts: Parts) -> SourceReader | None:
    settings = parts.settings
    return HostSource().collect if settings.host.enabled and settings.queue_shard.first else None


def _bullmq(parts: Parts) -> SourceReader:
    source = BullMQSource(
        parts.deployment,
        parts.discovery,
        parts.settings.bullmq,
        parts.follower,
        parts.schedulers,
        parts.memory,
    )
    bull, work = parts.bull, parts.work

    def collect(deadline: Deadline) -> BullMQState:
        state = source.collect(deadline)
        state = state if bull is None else bull.extend(state)
        return state if work is None else work.extend(monotonic(), state)

    return collect


def _process(parts: Parts) -> SourceReader:
    push = parts.push

    def collect(deadline: Deadline) -> ProcessState:
        state = collect_process(deadline)
        return state if push is None else replace(state, push=push())

    return collect


SOURCES: Final[Mapping[str, Callable[[Parts], SourceReader | None]]] = {
    "redis": _redis,
    "bullmq": _bullmq,
    "host": _host,
    "process": _process,
    "probes": lambda parts: parts.probers.collect if parts.probers else None,
}
"""Part of the snapshot -> how its source is constructed; None if the settings switch it off, or leave it to
the first of several shards."""


def make_sources(parts: Parts) -> dict[str, SourceReader]:
    """The sources that are switched on."""
    sources = {name: make(parts) for name, make in SOURCES.items()}
    return {name: source for name, source in sources.items() if source is not None}


class Collector:
    """Runs the sources. Collections that overlap share one run, each until its own deadline."""

    def __init__(self, sources: Mapping[str, SourceReader]) -> None:
        self._sources = dict(sources)
        self._lock = threading.Lock()
        self._run: _Run | None = None
        self._busy: dict[str, _Reading] = {}
        self._errors: dict[str, str] = {}
        self.without_thread: tuple[str, ...] = ()
        """The sources for which the last run had no room for a thread."""

    def collect(self, deadline: Deadline) -> Snapshot:
        """The parts that could be read by the deadline; the others are Failed. No source makes it raise."""
        run = self._join(deadline)
        wait(run.parts.values(), deadline.remaining() + _GRACE)
        took = monotonic() - run.started
        late = Failed("timeout", f"not read within {took:.1f} s", took)
        read = {name: part.result() if part.done() else late for name, part in run.parts.items()}
        return Snapshot(taken_at=run.taken_at, number=run.number, **read)

    def _join(self, deadline: Deadline) -> _Run:
        """The current run, or a new one."""
        with self._lock:
            run = self._run
            if run is None or run.ended() or run.hasty_beside(deadline):
                number = run.number + 1 if run else 1
                run = self._run = _Run(number, now(), monotonic(), deadline, self._begin(deadline))
            return run

    def _begin(self, deadline: Deadline) -> dict[str, Future[Outcome[Any]]]:
        """One thread per source. One that is late in an earlier run is read again when that has ended; not
        while it hangs."""
        parts: dict[str, Future[Outcome[Any]]] = {}
        without = []
        for name, source in self._sources.items():
            before = self._busy.get(name)
            if before is not None and before.ended():
                before = None
            if before is not None and monotonic() - before.deadline.at > _HANGS:
                parts[name] = _settled(_STILL_BUSY)
                continue
            part = parts[name] = Future()
            reading = _Reading(part, deadline)
            try:
                # A daemon thread: a file system that hangs in the kernel must not block the exit.
                read = partial(self._read, name, source, reading, before)
                reading.thread = start_thread(read, f"collect:{name}")
            except NoThreadError:
                part.set_result(_NO_THREAD)
                without.append(name)
                continue
            if before is None:
                self._busy[name] = reading
        self.without_thread = tuple(without)
        return parts

    def _read(self, name: str, source: SourceReader, reading: _Reading, before: _Reading | None) -> None:
        try:
            outcome = (
                self._outcome(name, source, reading.deadline)
                if before is None or self._follows(name, reading, before)
                else _STILL_BUSY
            )
            reading.part.set_result(outcome)
        finally:  # without memory even the report of a failure fails
            if not reading.part.done():
                reading.part.set_result(_ENDED)

    def _outcome(self, name: str, source: SourceReader, deadline: Deadline) -> Outcome[object]:
        started = monotonic()
        outcome: Outcome[object]
        unexpected = ""
        try:
            value = source(deadline)
            outcome = Ok(value, monotonic() - started)
        except UnreadableError as error:
            outcome = Failed(error.kind, str(error), monotonic() - started)
        except BaseException as error:  # a bug in one source must not affect the others
            unexpected = _describe(error)
            outcome = Failed("error", unexpected, monotonic() - started)
            if unexpected != self._errors.get(name):  # once, not at every scrape
                log.exception("source failed", extra={"source": name})
        self._errors[name] = unexpected
        return outcome

    def _follows(self, name: str, reading: _Reading, before: _Reading) -> bool:
        """Wait for the earlier read until this one's deadline; whether this one reads the source now."""
        wait([before.part], reading.deadline.remaining())
        with self._lock:
            first = before.ended() and self._busy[name] is before and not reading.deadline.passed()
            if first:
                self._busy[name] = reading
            return first


@dataclass(eq=False)
class _Reading:
    """A read of one source: its result, when it should be there, and the thread that reads."""

    part: Future[Outcome[Any]]
    deadline: Deadline
    thread: threading.Thread | None = None

    def ended(self) -> bool:
        """Whether there is a result, or nobody who could still give one."""
        return self.part.done() or (self.thread is not None and not self.thread.is_alive())


@dataclass(frozen=True)
class _Run:
    """One run of all sources. `taken_at` is unix seconds, `started` monotonic."""

    number: int
    taken_at: float
    started: float
    deadline: Deadline
    parts: Mapping[str, Future[Outcome[Any]]]

    def hasty_beside(self, deadline: Deadline) -> bool:
        """Whether it has less than half of that time left: who has more must not get what it leaves out."""
        return 2 * self.deadline.remaining() < deadline.remaining()

    def ended(self) -> bool:
        return self.deadline.passed() or all(part.done() for part in self.parts.values())


def _describe(error: BaseException) -> str:
    """Type and location. Not the text, which may contain data that was read, or a URL."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = frame.filename.rpartition("/")[2]
    return f"{type(error).__name__} at {place}:{frame.lineno}, a bug in the exporter; see its log"


def _settled(outcome: Outcome[Any]) -> Future[Outcome[Any]]:
    future: Future[Outcome[Any]] = Future()
    future.set_result(outcome)
    return future
