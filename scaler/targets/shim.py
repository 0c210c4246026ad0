"""The shim of one worker: a small process between scaler and worker, so that no process outlives the scaler.

    shim.py GRACE_SECONDS DIRECTORY USER PROGRAM [ARGUMENT...]     DIRECTORY and USER may be empty

Standard input is a socket whose other end only the scaler holds. When that is closed, by a scale-in or as
the scaler died for whatever reason, the shim sends SIGTERM to the worker, SIGTERM to the descendants that are
left once the worker has exited, and SIGKILL to all that is left after GRACE_SECONDS. It exits when no
descendant is left.

It writes `started PID` and `ended WAITSTATUS` to that socket, and reads `grace SECONDS` from it: another
grace period, unless it has begun. Run by its path with `-I -S`, it imports nothing of the project: one runs
beside each worker.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Final, NoReturn

SCALER: Final = 0
POLL_SECONDS: Final = 0.2
"""How often it looks for orphaned descendants while it terminates them."""

EXIT_NOT_FOUND: Final = 127
EXIT_NOT_EXECUTABLE: Final = 126

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_STOP_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def main(arguments: list[str]) -> None:
    grace, directory, user, *command = arguments
    os.set_inheritable(SCALER, False)
    _prctl(_PR_SET_CHILD_SUBREAPER)
    shim = os.getpid()
    worker = os.fork()
    if worker == 0:
        _exec_worker(command, directory, user, shim)
    signals = _catch_signals()  # not before: a worker signalled before its exec would miss the signal
    _report(f"started {worker}")
    _Supervisor(worker, float(grace)).run(signals)


class _Supervisor:
    """Supervises the worker and its descendants until the last of them has exited."""

    def __init__(self, worker: int, grace: float) -> None:
        self._worker: int | None = worker
        self._grace = grace
        self._kill_at: float | None = None
        self._signalled: set[int] = set()
        self._partial = b""

    def run(self, signals: int) -> None:
        sources = [SCALER, signals]
        while self._reap():
            self._terminate_descendants()
            ready, _, _ = select.select(sources, [], [], None if self._kill_at is None else POLL_SECONDS)
            commands = _received(SCALER) if SCALER in ready else None
            closed = commands == b""
            if closed:
                sources.remove(SCALER)
            elif commands:
                self._obey(commands)
            if closed or (signals in ready and not _STOP_SIGNALS.isdisjoint(_received(signals))):
                self._terminate_worker()

    def _obey(self, received: bytes) -> None:
        *lines, self._partial = (self._partial + received).split(b"\n")
        for line in lines:
            self._grace = float(line.removeprefix(b"grace "))

    def _reap(self) -> bool:
        """Reap exited processes; whether any descendant is left."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                self._signalled.discard(pid)
                if pid == self._worker:
                    self._worker = None
                    _report(f"ended {status}")
        return False

    def _terminate_worker(self) -> None:
        """SIGTERM to the worker only: what it started for an active job has to run until the job is done."""
        if self._kill_at is None and self._worker is not None:
            self._kill_at = time.monotonic() + self._grace
            _signal(self._worker, signal.SIGTERM)

    def _terminate_descendants(self) -> None:
        if self._worker is None and self._kill_at is None:
            self._kill_at = time.monotonic() + self._grace
        if self._kill_at is None:
            return
        if time.monotonic() >= self._kill_at:
            for pid in _children():
                _signal(pid, signal.SIGKILL)
        elif self._worker is None:
            for pid in _children() - self._signalled:
                self._signalled.add(pid)
                _signal(pid, signal.SIGTERM)


def _children() -> set[int]:
    """Own and orphaned descendants; 0, our process group, where the kernel does not list them."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as listing:  # noqa: PTH123 - pathlib costs 2 MB
            return {int(pid) for pid in listing.read().split()}
    except OSError:
        return {0}


def _signal(pid: int, number: int) -> None:
    with suppress(OSError):  # it has just exited, or changed to a user whom we may not signal
        os.kill(pid, number)


def _catch_signals() -> int:
    """Signals from here on are bytes to read from the returned descriptor."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (*_STOP_SIGNALS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return reader


def _received(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1024)
    except OSError:  # nothing to read, or the scaler died with unread data
        return b""


def _report(line: str) -> None:
    with suppress(OSError):  # the scaler has died
        os.write(SCALER, line.encode() + b"\n")


def _exec_worker(command: list[str], directory: str, user: str, shim: int) -> NoReturn:
    """Execute the worker in the process that was forked for it."""
    try:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them; a worker would inherit that
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), SCALER)
        if user:
            _switch_user(user)
        if directory:
            os.chdir(directory)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # after the change of user, which clears it
        if os.getppid() != shim:  # the shim died before the kernel could be asked to signal that
            os._exit(EXIT_NOT_EXECUTABLE)
        os.execvp(command[0], command)  # noqa: S606 - without a shell, as it is meant
    except OSError as error:
        os.write(2, f"{command[0]} cannot be run: {error.strerror}\n".encode())
        os._exit(EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else EXIT_NOT_EXECUTABLE)


def _switch_user(user: str) -> None:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise OSError(errno.EINVAL, f"user {user} does not exist") from None
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _prctl(option: int, value: int = 1) -> None:
    """On Linux; elsewhere the process group has to suffice."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
