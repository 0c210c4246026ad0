"""How many workers this machine can run at most. A bound against slips, such as a zero too many in an order;
what the machine runs well is `max_total_workers`.

Cores are no bound: a worker that waits for a mail server needs none.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from scaler.config.policy_layers import resolve
from scaler.config.settings import ScalerSettings
from scaler.targets.descriptors import DESCRIPTORS_PER_WORKER, OWN_DESCRIPTORS, Served

WORKER_BYTES: Final = 5 << 20
"""Memory that a worker takes at least: what its shim has for itself. The worker's own comes on top."""
WORKER_PROCESSES: Final = 2
"""A worker and its shim."""

_GROUPS: Final = Path("/sys/fs/cgroup")


class Machine(NamedTuple):
    """What there is of each at most; None: no limit is set, or it is not known."""

    memory: int | None = None
    descriptors: int | None = None
    processes: int | None = None
    served: Served = Served()
    """Of the descriptors, those that connections may take."""


class WorkerLimit(NamedTuple):
    """So many workers together can run, and what there is not more of."""

    workers: int
    why: str

    @property
    def sentence(self) -> str:
        return f"this machine can run {self.workers} workers at most ({self.why})"


def worker_limit(machine: Machine) -> WorkerLimit | None:
    """The lowest of what memory, file descriptors and processes allow; None: nothing is known of any."""
    limits = []
    if machine.memory is not None:
        limits.append(WorkerLimit(machine.memory // WORKER_BYTES, f"{machine.memory >> 20} MB of memory"))
    if machine.descriptors is not None:
        served = machine.served
        room = max(0, machine.descriptors - OWN_DESCRIPTORS - served.connections) // DESCRIPTORS_PER_WORKER
        of_them = f", of which {served}" if served.connections else ""
        limits.append(WorkerLimit(room, f"{machine.descriptors} file descriptors, RLIMIT_NOFILE{of_them}"))
    if machine.processes is not None:
        limits.append(WorkerLimit(machine.processes // WORKER_PROCESSES, f"{machine.processes} processes"))
    return min(limits, default=None)


def this_machine(settings: ScalerSettings) -> Machine:
    """The limits of the machine, of this process and of its cgroup (v2), each the lowest."""
    descriptors = _of_process(resource.RLIMIT_NOFILE)
    return Machine(
        _lowest(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_of_groups("memory.max")),
        descriptors,
        _lowest(
            None if os.geteuid() == 0 else _of_process(resource.RLIMIT_NPROC),
            _number(Path("/proc/sys/kernel/pid_max")),
            *_of_groups("pids.max"),
        ),
        Served.of(settings, sys.maxsize if descriptors is None else descriptors),
    )


def limit_of_workers(settings: ScalerSettings) -> WorkerLimit | None:
    """That of this machine: the only place where it is asked. None if the workers are no processes of it."""
    elsewhere = any(target.processes is None for target in settings.targets)
    return None if elsewhere else worker_limit(this_machine(settings))


def least_above(settings: ScalerSettings, limit: WorkerLimit) -> str | None:
    """Why the scaler cannot run with these settings; None: it can."""
    least = _together(settings, "min_workers")
    return f"{least} workers at least (min_workers): {limit.sentence}" if least > limit.workers else None


def most_above(settings: ScalerSettings, limit: WorkerLimit) -> str | None:
    """Why not all workers that the settings allow could be started; None: they could."""
    most = _together(settings, "max_workers")
    if settings.max_total_workers is not None:
        most = min(most, settings.max_total_workers)
    above = f"{most} workers at most (max_workers, max_total_workers): {limit.sentence}"
    return above if most > limit.workers else None


class WorkerRoom:
    """Shared by the targets of this machine: no more workers are requested together than it can run."""

    def __init__(self, limit: WorkerLimit | None) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._requested: dict[object, int] = {}

    def request(self, target: object, workers: int) -> str | None:
        """A target wants so many; why it cannot have them, None: it has. Fewer than before it always can."""
        with self._lock:
            before = self._requested.get(target, 0)
            if self._limit is not None and workers > before:
                together = sum(self._requested.values()) - before + workers
                if together > self._limit.workers:
                    return f"{together} workers together: {self._limit.sentence}"
            self._requested[target] = workers
            return None

    def leave(self, target: object) -> None:
        """The target is closed."""
        with self._lock:
            self._requested.pop(target, None)


def _together(settings: ScalerSettings, key: str) -> int:
    counts = (getattr(resolve(settings, target), key) for target in settings.targets if target.processes)
    return sum(counts)


def _lowest(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _of_process(kind: int) -> int | None:
    limit = resource.getrlimit(kind)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _of_groups(name: str) -> Iterator[int | None]:
    """The limits of the process's own group and of those around it."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return
    own = next((line[3:] for line in lines if line.startswith("0::/")), "/")
    group = _GROUPS / own.strip("/")
    for each in (group, *group.parents):
        yield _number(each / name)
        if each == _GROUPS:
            return


def _number(file: Path) -> int | None:
    """None for `max`, and for a file that is not there."""
    try:
        text = file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
