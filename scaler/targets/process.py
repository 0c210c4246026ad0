"""Workers as processes of this machine: spawned, restarted, terminated, reaped. See docs/workers.md."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, TypeAlias

from scaler.busy import BusyLookup, WorkerJobs, idle_workers
from scaler.config.settings import ProcessSettings
from scaler.model import Applied, NotApplied, Workers
from scaler.targets.command import environment, find_problem, shim_command
from scaler.targets.machine import WorkerRoom
from scaler.targets.output import OutputLog, target_budget
from scaler.targets.slots import CRASH_LOOP_FAILURES, WorkerSlots
from scaler.targets.waiter import Waiter
from scaler.targets.worker import WorkerProcess, status_text
from service.clock import Deadline, monotonic
from service.logs import ProblemLog
from service.outcome import Failed, Ok, Outcome, UnreadableError
from service.threads import Supervised, backoff

log = logging.getLogger(__name__)

_SHIM_MARGIN: Final = 2.0
"""Seconds that a shim may be late with SIGKILL before it is killed itself, with its process group."""

_MAX_WAIT: Final = 1.0
_MAX_AGE: Final = 30.0
_STARTS_PER_STEP: Final = 16  # between them workers that leave or exit are noticed, and the end of the scaler
_BUSY_SECONDS: Final = 2.0  # to read the busy workers: meanwhile no output is read, or other targets wait
_ANSWER_SECONDS: Final = 10.0  # so long `scale` takes what `idle` has read, if it was nothing too


@dataclass(slots=True)
class _RunningWorker:
    """A worker's processes. `output`: what it prints; `grace`: its seconds from SIGTERM to SIGKILL;
    `kill_at`: when its process group is killed; `exited`: its exit was recorded; `reaped`: its shim has
    exited."""

    process: WorkerProcess
    output: OutputLog
    grace: float
    kill_at: float | None = None
    exited: bool = False
    reaped: bool = False


_Source: TypeAlias = tuple[int, _RunningWorker, Callable[[int, _RunningWorker], None]]
"""A worker by its number, and what is done when it can be read from."""


class ProcessTarget:
    """The workers of one target, `NAME-1`, `NAME-2` ...: a `Target`.

    One thread spawns them, reads their output, and restarts those that exit; it starts with the first worker,
    and close() stops it.
    """

    def __init__(
        self,
        name: str,
        settings: ProcessSettings,
        *,
        busy: BusyLookup | None = None,
        room: WorkerRoom | None = None,
    ) -> None:
        self._name = name
        self._room = room or WorkerRoom(None)
        self._settings = settings
        self._busy = busy
        self._answer: tuple[float, Outcome[WorkerJobs]] | None = None
        self._lock = threading.Lock()
        self._slots = WorkerSlots(settings.ready_seconds, backoff)
        self._task = Supervised(f"workers {name}", self._step, max_age=_MAX_AGE)
        self._last_crash = ""
        self._running = False
        self._closing = False
        self._grace_changed = False
        self._no_replacement = ProblemLog(log, "workers not replaced", None)
        self._all_reaped = threading.Event()
        self._workers: dict[int, _RunningWorker] = {}
        self._output_budget = target_budget()
        self._waiter: Waiter[_Source] | None = None  # of thousands of targets most may have no worker

    def read(self, deadline: Deadline, *, acts: bool = True) -> Outcome[Workers]:
        """Failed("stale") if the thread that supervises them hangs, as it does on a log that blocks."""
        del deadline, acts  # nothing in here blocks
        if self._running and not self._task.alive:
            age = self._task.age()
            return Failed("stale", f"the workers of {self._name} were not supervised for {age:.0f} s")
        now = monotonic()
        with self._lock:
            slots = self._slots
            grace = self._settings.grace_seconds
            requested, crashing = slots.requested, slots.crashing(now)
            crash_loop = None
            if crashing:
                often = f"exited {CRASH_LOOP_FAILURES} times in a row soon after they started"
                crash_loop = f"{crashing} of {requested} workers {often}, the last with {self._last_crash}"
            return Ok(
                Workers(
                    requested,
                    slots.ready(now),
                    slots.start_seconds(now),
                    grace_seconds=grace,
                    crash_loop=crash_loop,
                )
            )

    def idle(self, deadline: Deadline) -> Outcome[int] | None:
        """By what the exporter reports, if every job has the name of one of these workers."""
        if self._busy is None:
            return None
        busy = _read_busy(self._busy, deadline)
        self._answer = monotonic(), busy
        if isinstance(busy, Failed):
            return busy
        with self._lock:
            ready = self._slots.ready(monotonic())
        idle = idle_workers(busy.value, f"{self._name}-", ready)
        return None if idle is None else Ok(idle)

    def scale(self, old: int, new: int, deadline: Deadline) -> Applied | NotApplied:
        """Returns before anything has started or exited. Which workers go is decided by what `idle` has read
        for it, else it is read now, for 2 s at most."""
        if new < 0:
            return NotApplied("invalid", f"{new} is not a number of workers")
        if new > old and (problem := find_problem(self._settings)):
            return problem
        answer, self._answer = self._answer, None
        busy = self._by_number(self._busy_jobs(answer, deadline)) if new < old else {}
        with self._lock:
            if self._closing:
                return NotApplied("invalid", f"the workers of {self._name} are being terminated")
            if self._slots.requested != old:
                return NotApplied("conflict", f"{self._slots.requested} workers are requested, not {old}")
            if new and self._waiter is None:
                try:
                    self._waiter = Waiter()
                except OSError as error:
                    return NotApplied("invalid", f"the workers of {self._name} cannot be started: {error}")
            if (too_many := self._room.request(self, new)) is not None:
                return NotApplied("invalid", too_many)
            self._slots.resize(new, monotonic(), busy)
            if new and not self._running:
                self._running = True
                self._task.start()
        self._wake_up()
        return Applied(new)

    def change(self, settings: ProcessSettings, busy: BusyLookup | None) -> None:
        """Apply changed settings. Those that a process is started with replace the workers, one after the
        other; the others apply at once. Workers that are leaving keep their grace period; those that are
        replaced have the longer of the old and the new one."""
        with self._lock:
            before, self._settings, self._busy = self._settings, settings, busy
            outdated = _started_with(before) != _started_with(settings)
            self._slots.change(settings.ready_seconds, outdated=outdated)
            self._grace_changed = True
            count = self._slots.requested
        if outdated and count:
            log.info("replacing workers", extra={"target": self._name, "workers": count})
        self._wake_up()

    def start_times(self) -> tuple[float, ...]:
        """Since the start, after those that were restored: at most 100."""
        with self._lock:
            return self._slots.start_times(monotonic())

    def restore_start_times(self, seconds: Sequence[float]) -> None:
        with self._lock:
            self._slots.restore_start_times(seconds)

    def close(self) -> None:
        """Terminate all workers and wait: the grace period, and a few seconds for a shim that hangs."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._room.leave(self)
            self._slots.resize(0, monotonic(), {})
        if self._running:
            self._wake_up()
            graces = [worker.grace for worker in list(self._workers.values())]
            self._all_reaped.wait(max([self._settings.grace_seconds, *graces]) + 2 * _SHIM_MARGIN)
            self._task.stop(0)
            self._wake_up()
            self._task.stop()
        for worker in self._workers.values():
            worker.process.signal_group(signal.SIGKILL)
        if self._waiter is not None:
            self._waiter.close()

    # --- the thread ---------------------------------------------------------------------------------------

    def _step(self) -> float:
        now = monotonic()
        with self._lock:
            due, leaving = self._slots.due(now)[:_STARTS_PER_STEP], self._slots.leaving
            for number in due:
                self._slots.mark_present(number)
            settings = self._settings
            grace_changed, self._grace_changed = self._grace_changed, False
            outdated = set(self._slots.outdated)
        for number in due:
            self._spawn(number, settings)
        if grace_changed:
            self._set_grace(settings.grace_seconds, outdated)
        self._replace(settings)
        for number in leaving:
            self._terminate(number)
        self._resume_output(monotonic())
        for number, worker, handle in self._selector.wait(self._seconds_to_wait()):
            if self._workers.get(number) is worker:  # the event before may have removed it
                handle(number, worker)
        self._kill_overdue(monotonic())
        if self._closing and not self._workers:
            self._all_reaped.set()
        return 0.0

    def _seconds_to_wait(self) -> float:
        now = monotonic()
        with self._lock:
            start = self._slots.next_due(now)
        kills = [worker.kill_at - now for worker in self._workers.values() if worker.kill_at is not None]
        rests = [at - now for worker in self._workers.values() if (at := worker.output.resume_at) is not None]
        return max(0.0, min([_MAX_WAIT, *kills, *rests, *([] if start is None else [start])]))

    def _replace(self, settings: ProcessSettings) -> None:
        """The next step of a replacement, if there is one: a worker that starts, or one that leaves."""
        with self._lock:
            next_step = None if self._closing else self._slots.next_replacement(monotonic())
        if next_step == "start":
            problem = find_problem(settings)
            self._no_replacement.report(problem.message if problem else "", target=self._name)
            if problem is None:
                with self._lock:
                    self._slots.start_replacement(monotonic())
                self._wake_up()
        elif next_step == "retire":
            busy = self._by_number(self._busy_jobs(None, Deadline.after(_BUSY_SECONDS)))
            with self._lock:
                if self._slots.next_replacement(monotonic()) == "retire":  # it may have been scaled meanwhile
                    self._slots.retire(busy)
            self._wake_up()

    def _set_grace(self, seconds: float, outdated: AbstractSet[int]) -> None:
        for number, worker in self._workers.items():
            if not worker.process.terminating:  # what replaces a worker may not kill the jobs that it has
                worker.grace = max(worker.grace, seconds) if number in outdated else seconds
                worker.process.set_grace(worker.grace)

    def _spawn(self, number: int, settings: ProcessSettings) -> None:
        name = self._worker_name(number)
        try:
            environ = environment(settings, name, os.environ)
            process = WorkerProcess(shim_command(settings), environ)
        except (OSError, ValueError, KeyError) as error:  # no further process, or the user was removed
            self._record_exit(number, f"not started: {error}")
            self._record_reaped(number)
            return
        output = OutputLog(name, process.output, self._output_budget)
        worker = self._workers[number] = _RunningWorker(process, output, settings.grace_seconds)
        self._selector.register(process.control, (number, worker, self._receive))
        self._selector.register(process.output, (number, worker, self._read_output))

    def _terminate(self, number: int) -> None:
        worker = self._workers.get(number)
        if worker is not None and not worker.process.terminating:
            worker.process.terminate()
            worker.kill_at = monotonic() + worker.grace + _SHIM_MARGIN
            log.info("worker terminating", extra={"worker": self._worker_name(number)})

    def _receive(self, number: int, worker: _RunningWorker) -> None:
        messages, more = worker.process.receive()
        for message in messages:
            if message.event == "started":
                log.info("worker started", extra={"worker": self._worker_name(number), "pid": message.value})
                with self._lock:
                    self._slots.mark_started(number, monotonic())
            else:
                worker.exited = True
                self._record_exit(number, status_text(message.value))
        if not more:
            self._reap(number, worker)

    def _reap(self, number: int, worker: _RunningWorker) -> None:
        """The shim has exited. If it was killed, its worker is terminated here."""
        self._selector.unregister(worker.process.control)
        worker.reaped = True
        remaining = worker.process.reap()
        if not worker.exited:
            worker.exited = True
            self._record_exit(number, "unknown: its shim was killed")
        if remaining:
            worker.kill_at = monotonic() + worker.grace
        else:
            self._remove(number, worker)

    def _kill_overdue(self, now: float) -> None:
        for number, worker in list(self._workers.items()):
            if worker.kill_at is None or now < worker.kill_at:
                continue
            worker.process.signal_group(signal.SIGKILL)
            worker.kill_at = now + _SHIM_MARGIN
            if worker.reaped:
                self._remove(number, worker)

    def _remove(self, number: int, worker: _RunningWorker) -> None:
        if worker.output.listening:
            self._selector.unregister(worker.process.output)
        worker.output.end()
        os.close(worker.process.output)
        del self._workers[number]
        self._record_reaped(number)

    def _read_output(self, _: int, worker: _RunningWorker) -> None:
        worker.output.read()
        if not worker.output.listening:
            self._selector.unregister(worker.process.output)

    def _resume_output(self, now: float) -> None:
        for number, worker in self._workers.items():
            if worker.output.resume(now):
                self._selector.register(worker.process.output, (number, worker, self._read_output))

    def _record_exit(self, number: int, status: str) -> None:
        with self._lock:
            worker_exit = self._slots.mark_exited(number, monotonic())
        facts = {
            "worker": self._worker_name(number),
            "status": status,
            "uptime_seconds": round(worker_exit.uptime, 1),
        }
        if worker_exit.restart is None:
            log.info("worker exited", extra=facts)
            return
        log.warning("worker exited unexpectedly", extra=facts | {"restart_seconds": worker_exit.restart})
        self._last_crash = status
        if worker_exit.failures == CRASH_LOOP_FAILURES:
            log.error("worker crash loop", extra=facts | {"times": worker_exit.failures})

    def _record_reaped(self, number: int) -> None:
        with self._lock:
            self._slots.mark_reaped(number, monotonic())

    # --- names --------------------------------------------------------------------------------------------

    def _worker_name(self, number: int) -> str:
        return f"{self._name}-{number}"

    def _busy_jobs(
        self, answer: tuple[float, Outcome[WorkerJobs]] | None, deadline: Deadline
    ) -> WorkerJobs | None:
        """The answer, if it is new enough, else what is read now. None if it is not known: a scale-in without
        it is better than none."""
        if self._busy is None:
            return None
        if answer is not None and monotonic() - answer[0] < _ANSWER_SECONDS:
            busy = answer[1]
        else:
            busy = _read_busy(self._busy, deadline.at_most(_BUSY_SECONDS))
        if isinstance(busy, Ok):
            return busy.value
        log.warning("cannot read busy workers", extra={"target": self._name, "error": busy.message})
        return None

    def _by_number(self, busy: WorkerJobs | None) -> dict[int, bool]:
        """Whether they are busy, by number, as far as it is known."""
        if busy is None:
            return {}
        with self._lock:
            names = {number: self._worker_name(number) for number in self._slots.numbers}
        return {
            number: busy.jobs.get(name, 0) > 0
            for number, name in names.items()
            if busy.complete or name in busy.jobs
        }

    def _wake_up(self) -> None:
        if self._waiter is not None:
            self._waiter.wake()

    @property
    def _selector(self) -> Waiter[_Source]:
        """That of the thread, which runs only with one."""
        if self._waiter is None:
            raise ValueError(f"{self._name} has had no worker")
        return self._waiter


def _read_busy(busy: BusyLookup, deadline: Deadline) -> Outcome[WorkerJobs]:
    try:
        return Ok(busy(deadline))
    except UnreadableError as error:
        return Failed(error.kind, str(error))


def _started_with(settings: ProcessSettings) -> object:
    """The settings that a process has from its start to its end."""
    variables = settings.environment, settings.environment_from
    return settings.command, settings.directory, variables, settings.user
