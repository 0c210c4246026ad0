"""Threads: started here, as there may be no room for one; and supervised ones, which are named, restarted
with a backoff, stopped in bounded time.

A limit of the container or of the user (pids, `ulimit -u`) makes a start fail for a moment or for long. What
has to be done then is the caller's: `start_thread` says so with an error of the operating system. A
supervised thread is started again until there is room, and one that ended by itself (no memory) too.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, ParamSpec, Self, TypeVar

from service.clock import monotonic, wait

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_LONGEST_PAUSE: Final = 60.0
_LONGEST_START: Final = 5.0  # seconds
_START_AGAIN_SECONDS: Final = 1.0  # between two attempts to start what has no thread


class NoThreadError(OSError):
    """There is no room for another thread."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, "no room for another thread: a limit of processes, or of memory")

    def __str__(self) -> str:
        return str(self.strerror)


def start_thread(run: Callable[[], object], name: str, *, daemon: bool = True) -> threading.Thread:
    """A thread that runs. Raises NoThreadError; nothing has run then, and it may be tried again."""
    thread = threading.Thread(target=run, name=name, daemon=daemon)
    try:
        thread.start()
    except (RuntimeError, MemoryError):
        raise NoThreadError from None
    return thread


def bound_thread_starts() -> None:
    """For a process that is one program's alone: no start of a thread waits for ever, whoever starts it.

    `Thread.start` waits until the new thread says that it runs; one that finds no memory ends without a word
    (CPython 3.11 to 3.13), and the HTTP server's loop would never answer again.
    """
    start = threading.Thread.start

    def bounded_start(thread: threading.Thread) -> None:
        started: Any = thread._started  # type: ignore[attr-defined]  # noqa: SLF001  # what `start` awaits
        wait_started = started.wait

        def wait_at_most(timeout: float | None = None) -> bool:
            if not wait_started(_LONGEST_START if timeout is None else timeout):
                raise RuntimeError("can't start new thread")
            return True

        started.wait = wait_at_most
        try:
            start(thread)
        finally:
            del started.wait

    threading.Thread.start = bounded_start  # type: ignore[method-assign, assignment]


def backoff(failures: int) -> float:
    """Seconds to pause after this many failures in a row: 1, 2, 4, ... 60."""
    return min(_LONGEST_PAUSE, 2.0 ** min(failures - 1, 10))


class Supervised:
    """Runs `step` in its own thread and sleeps the seconds that it returns.

    A step that raises is logged and repeated after a growing pause. A step that hangs cannot be ended from
    outside: `age` grows past `max_age`, and `alive` is False. It is False too while there is no thread, and
    `start_again` is called until there is one.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], float],
        *,
        max_age: float | Callable[[], float],
        pause: Callable[[int], float] = backoff,
    ) -> None:
        self.name: Final = name
        self._max_age = max_age
        self.restarts = 0
        self._step = step
        self._pause = pause
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._begun = False
        self._launching = threading.Lock()
        self._thread: threading.Thread | None = None
        self._last_success = monotonic()

    def start(self) -> None:
        """Start the thread, now or as soon as there is room for one. Raises RuntimeError if it was started
        before, even if it was stopped since."""
        if self._begun:
            raise RuntimeError(f"{self.name} was started before")
        self._begun = True
        self._last_success = monotonic()
        if not self.launch():
            log.warning(
                "background thread not started", extra={"task": self.name, "reason": str(NoThreadError())}
            )
        _STARTED.add(self)

    def launch(self) -> bool:
        """Start the thread if it should run and does not; False: there is no room for it."""
        with self._launching:
            if self.has_thread or self._stopping.is_set():
                return True
            try:
                self._thread = start_thread(self._run, self.name, daemon=False)
            except NoThreadError:
                return False
            return True

    @property
    def has_thread(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def stop(self, seconds: float = 3.0) -> bool:
        """Request the end and wait at most `seconds`; returns whether the thread has ended."""
        self._stopping.set()
        self._woken.set()
        _STARTED.discard(self)
        with self._launching:
            thread = self._thread
        if thread is None:
            return True
        thread.join(seconds)
        return not thread.is_alive()

    def wake(self) -> None:
        """Run the next step at once instead of after the pause."""
        self._woken.set()

    def sleep_on(self) -> None:
        """Within a step: discard pending wake-ups, as this step has handled them."""
        self._woken.clear()
        if self._stopping.is_set():
            self._woken.set()

    @property
    def alive(self) -> bool:
        """Whether the thread runs and a step has succeeded within `max_age` seconds."""
        return self.has_thread and self.age() <= self.max_age

    @property
    def max_age(self) -> float:
        """Seconds without a successful step after which the thread counts as stuck."""
        return self._max_age() if callable(self._max_age) else self._max_age

    def age(self) -> float:
        """Seconds since the last successful step, or since the start."""
        return monotonic() - self._last_success

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            start_again()
            try:
                seconds = self._step()
                self._last_success = monotonic()
                failures = 0
            except BaseException:  # a thread that ended for whatever reason would go unnoticed
                failures += 1
                self.restarts += 1
                seconds = self._pause(failures)
                log.exception("background step failed", extra={"task": self.name, "retry_seconds": seconds})
            wait(self._woken, seconds)
            self._woken.clear()


class _Started:
    """The supervised ones that should have a thread: at every moment, whatever ended it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members: set[Supervised] = set()
        self._due = 0.0

    def add(self, member: Supervised) -> None:
        with self._lock:
            self._members.add(member)

    def discard(self, member: Supervised) -> None:
        with self._lock:
            self._members.discard(member)

    def launch(self) -> None:
        if monotonic() < self._due:
            return
        with self._lock:
            self._due = monotonic() + _START_AGAIN_SECONDS
            without = [member for member in self._members if not member.has_thread]
        for member in without:
            if not member.launch():
                return
            log.info("background thread started", extra={"task": member.name})


_STARTED: Final = _Started()


def start_again() -> None:
    """Start the supervised threads for which there was no room, or that ended (no memory for the log of a
    failure). Costs next to nothing.

    Called in each supervised thread before its step, and by the main thread once a second.
    """
    _STARTED.launch()


class WorkerGroup:
    """A changing set of supervised threads, one for each name."""

    def __init__(self, *, max_age: float) -> None:
        self._max_age = max_age
        self._lock = threading.Lock()
        self._members: dict[str, Supervised] = {}
        self._leaving: list[Supervised] = []
        self._stopped = False

    @property
    def members(self) -> tuple[Supervised, ...]:
        """The threads that run now."""
        return tuple(self._members.values())

    def sync(self, steps: Mapping[str, Callable[[], float]]) -> None:
        """Start the threads whose names are new, and stop those whose names are absent."""
        with self._lock:
            if self._stopped:
                return
            removed = [member for name, member in self._members.items() if name not in steps]
            for member in removed:
                member.stop(0)
            self._leaving = [member for member in (*self._leaving, *removed) if not member.stop(0)]
            members = {name: member for name, member in self._members.items() if name in steps}
            for name, step in steps.items():
                if name not in members:
                    members[name] = Supervised(name, step, max_age=self._max_age)
                    members[name].start()
            self._members = members

    def stop(self, seconds: float = 3.0) -> bool:
        """Request the end of all and wait at most `seconds` in total; returns whether all have ended."""
        with self._lock:
            self._stopped = True
            members = self._leaving = [*self._members.values(), *self._leaving]
            self._members = {}
        for member in members:
            member.stop(0)
        until = monotonic() + seconds
        return all(member.stop(max(0.0, until - monotonic())) for member in members)


class PooledTask(Generic[T]):
    """Work that is done once: by a thread of its pool, or by the one that first asks for the result."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._begun = threading.Lock()
        self._future: Future[T] = Future()

    def run(self) -> None:
        """Do it, unless that has begun."""
        if not self._begun.acquire(blocking=False):
            return
        try:
            result = self._work()
        except BaseException as error:  # noqa: BLE001  # raised again where the result is asked for
            self._future.set_exception(error)
        else:
            self._future.set_result(result)

    def result(self) -> T:
        """What the work returns, or raises."""
        self.run()
        return self._future.result()


class TaskPool:
    """Tasks on up to `threads` threads. Without room for one they are done where their results are asked for:
    later, but each of them, and once."""

    def __init__(self, threads: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> PooledTask[T]:
        task = PooledTask(partial(work, *args, **kwargs))
        with suppress(RuntimeError, MemoryError):  # no room for another thread: it waits for those there are
            self._executor.submit(task.run)
        return task

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown()
