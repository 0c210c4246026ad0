"""Workers as processes of this machine: started, restarted, never left behind. See docs/workers.md."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from scaler.model import Applied, NotApplied, Workers
from scaler.settings import ProcessSettings
from scaler.targets.command import environment, find_problem, shim_command
from scaler.targets.slots import WorkerSlots
from scaler.targets.worker import WorkerProcess, status_text
from service.clock import Deadline, monotonic
from service.outcome import Failed, Ok, Outcome
from service.threads import Supervised, backoff

log = logging.getLogger(__name__)

BusyLookup: TypeAlias = Callable[[], Mapping[str, bool] | None]
"""Which workers, by name, have a job in hand; None where that is not known. Answers at once."""

LOOPING: Final = 5
"""So many short lives in a row are told as a crash loop, once."""

_MARGIN: Final = 2.0
"""Seconds that a keeper may be late with SIGKILL before it is killed itself, with all its group."""

_LONGEST_TURN: Final = 1.0
_MAX_AGE: Final = 30.0
_READS_A_TURN: Final = 16


@dataclass(slots=True)
class _Held:
    """A worker's processes. `kill_at`: when its group is killed; `ended`: that was told; `silent`: it closed
    its output; `reaped`: its keeper is no more."""

    process: WorkerProcess
    kill_at: float | None = None
    ended: bool = False
    silent: bool = False
    reaped: bool = False


class ProcessTarget:
    """The workers of one target, `NAME-1`, `NAME-2` ...: a `Target`.

    One thread starts them, reads what they print, and restarts those that end; it begins with the first
    worker, and close() ends it.
    """

    def __init__(self, name: str, settings: ProcessSettings, *, busy: BusyLookup | None = None) -> None:
        self._name = name
        self._settings = settings
        self._busy = busy
        self._lock = threading.Lock()
        self._slots = WorkerSlots(settings.ready_seconds, backoff)
        self._task = Supervised(f"workers {name}", self._turn, max_age=_MAX_AGE)
        self._running = False
        self._closing = False
        self._empty = threading.Event()
        self._held: dict[int, _Held] = {}
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = os.pipe()
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def read(self, deadline: Deadline) -> Outcome[Workers]:
        """Failed("stale") when the thread that looks after them hangs, as it does on a log that is stuck."""
        del deadline  # nothing in here waits
        if self._running and not self._task.alive:
            age = self._task.age()
            return Failed("stale", f"the workers of {self._name} were not looked after for {age:.0f} s")
        now = monotonic()
        with self._lock:
            slots = self._slots
            return Ok(Workers(slots.requested, slots.ready(now), slots.start_seconds(now)))

    def scale(self, old: int, new: int, deadline: Deadline) -> Applied | NotApplied:
        """Returns before anything has started or ended."""
        del deadline  # nothing in here waits
        if new < 0:
            return NotApplied("invalid", f"{new} workers cannot be")
        if new > old and (why := find_problem(self._settings)):
            return why
        busy = self._known_busy() if new < old else {}
        with self._lock:
            if self._closing:
                return NotApplied("invalid", f"the workers of {self._name} are being ended")
            if self._slots.requested != old:
                return NotApplied("conflict", f"{self._slots.requested} workers are asked for, not {old}")
            self._slots.resize(new, monotonic(), busy)
            if new and not self._running:
                self._running = True
                self._task.start()
        self._wake_up()
        return Applied(new)

    def close(self) -> None:
        """End all workers and wait for it: the grace, and a few seconds for one whose keeper hangs."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._slots.resize(0, monotonic(), {})
        if self._running:
            self._wake_up()
            self._empty.wait(self._settings.grace_seconds + 2 * _MARGIN)
            self._task.stop(0)
            self._wake_up()
            self._task.stop()
        for held in self._held.values():
            held.process.signal_group(signal.SIGKILL)
        self._selector.close()
        os.close(self._woken)
        os.close(self._wake)

    # --- the thread ---------------------------------------------------------------------------------------

    def _turn(self) -> float:
        now = monotonic()
        with self._lock:
            due, leaving = self._slots.due(now), self._slots.leaving
            for number in due:
                self._slots.present(number)
        for number in due:
            self._start(number)
        for number in leaving:
            self._end(number)
        for key, _ in self._selector.select(self._seconds_to_wait()):
            if key.fd == self._woken:
                with suppress(BlockingIOError):
                    os.read(self._woken, 1024)
            else:
                number, held, answer = key.data
                if self._held.get(number) is held:  # the other of its two may have been its last word
                    answer(number, held)
        self._kill_overdue(monotonic())
        if self._closing and not self._held:
            self._empty.set()
        return 0.0

    def _seconds_to_wait(self) -> float:
        now = monotonic()
        with self._lock:
            start = self._slots.next_due(now)
        kills = [held.kill_at - now for held in self._held.values() if held.kill_at is not None]
        return max(0.0, min([_LONGEST_TURN, *kills, *([] if start is None else [start])]))

    def _start(self, number: int) -> None:
        name = self._worker(number)
        try:
            environ = environment(self._settings, name, os.environ)
            process = WorkerProcess(shim_command(self._settings), environ)
        except (OSError, ValueError, KeyError) as error:  # no room for a process, or the user is gone
            self._ended(number, f"not started: {error}")
            self._gone(number)
            return
        held = self._held[number] = _Held(process)
        self._selector.register(process.control, selectors.EVENT_READ, (number, held, self._receive))
        self._selector.register(process.output, selectors.EVENT_READ, (number, held, self._print))

    def _end(self, number: int) -> None:
        held = self._held.get(number)
        if held is not None and not held.process.terminating:
            held.process.terminate()
            held.kill_at = monotonic() + self._settings.grace_seconds + _MARGIN
            log.info("worker told to end", extra={"worker": self._worker(number)})

    def _receive(self, number: int, held: _Held) -> None:
        said, more = held.process.receive()
        for one in said:
            if one.word == "started":
                log.info("worker started", extra={"worker": self._worker(number), "pid": one.number})
                with self._lock:
                    self._slots.started(number, monotonic())
            else:
                held.ended = True
                self._ended(number, status_text(one.number))
        if not more:
            self._reap(number, held)

    def _reap(self, number: int, held: _Held) -> None:
        """The keeper is no more. Had it been killed, what it kept is ended by us."""
        self._selector.unregister(held.process.control)
        held.reaped = True
        left = held.process.reap()
        if not held.ended:
            held.ended = True
            self._ended(number, "not known: its keeper was killed")
        if left:
            held.kill_at = monotonic() + self._settings.grace_seconds
        else:
            self._forget(number, held)

    def _kill_overdue(self, now: float) -> None:
        for number, held in list(self._held.items()):
            if held.kill_at is None or now < held.kill_at:
                continue
            held.process.signal_group(signal.SIGKILL)
            held.kill_at = now + _MARGIN
            if held.reaped:
                self._forget(number, held)

    def _forget(self, number: int, held: _Held) -> None:
        if not held.silent:
            self._print(number, held)
        if not held.silent:
            self._selector.unregister(held.process.output)
        os.close(held.process.output)
        del self._held[number]
        self._gone(number)

    def _print(self, number: int, held: _Held) -> None:
        """What it has printed, to the log; a part at a time, as a loud one has to leave time for others."""
        for _ in range(_READS_A_TURN):
            lines, more = held.process.read()
            for line in lines:
                log.info("worker output", extra={"worker": self._worker(number), "line": line})
            if not more:
                held.silent = True
                self._selector.unregister(held.process.output)
                return
            if not lines:
                return

    def _ended(self, number: int, status: str) -> None:
        with self._lock:
            ended = self._slots.ended(number, monotonic())
        facts = {"worker": self._worker(number), "status": status, "lived_seconds": round(ended.lived, 1)}
        if ended.restart is None:
            log.info("worker ended", extra=facts)
            return
        log.warning("worker ended by itself", extra=facts | {"restart_seconds": ended.restart})
        if ended.failures == LOOPING:
            log.error("worker keeps ending", extra=facts | {"times": ended.failures})

    def _gone(self, number: int) -> None:
        with self._lock:
            self._slots.gone(number, monotonic())

    # --- names --------------------------------------------------------------------------------------------

    def _worker(self, number: int) -> str:
        return f"{self._name}-{number}"

    def _known_busy(self) -> dict[int, bool]:
        """By number, of those of whom it is known."""
        try:
            named = (self._busy() if self._busy else None) or {}
        except Exception:  # a wrong guess of who is idle costs less than a scale-in that fails
            log.exception("busy workers are not known", extra={"target": self._name})
            return {}
        head = f"{self._name}-"
        own = {name.removeprefix(head): busy for name, busy in named.items() if name.startswith(head)}
        return {int(number): busy for number, busy in own.items() if number.isdecimal()}

    def _wake_up(self) -> None:
        with suppress(OSError):  # it is full, so it wakes; or closed, so there is nothing to wake
            os.write(self._wake, b"x")
