"""A child process with a log file. It never outlives the process that started it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from lab.deadline import wait_until
from lab.programs import find_program


class DiedError(RuntimeError):
    """A child process ended unexpectedly; the message has the tail of its log."""


class ChildProcess:
    """A running child. The kernel kills it when the thread that started it ends (PR_SET_PDEATHSIG)."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        log: Path,
        environ: Mapping[str, str] | None = None,
        piped: bool = False,
    ) -> None:
        """Start it. `log` gets stderr, and stdout unless `piped`: then stdin and stdout are pipes."""
        self.name = name
        self.log = log
        self.suspended = False
        setpriv = find_program("setpriv")
        with log.open("ab") as output:
            # A session of its own gets no Ctrl-C from the terminal: this process stops its children.
            self._popen = subprocess.Popen(
                [setpriv, "--pdeathsig", "KILL", "--", find_program(command[0]), *command[1:]],
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                env=environ,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def stdin(self) -> IO[bytes]:
        assert self._popen.stdin is not None
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self._popen.stdout is not None
        return self._popen.stdout

    def is_running(self) -> bool:
        return self._popen.poll() is None

    def check(self) -> None:
        """Raise DiedError unless it runs."""
        if not self.is_running():
            status = self._popen.returncode
            raise DiedError(f"{self.name} ended with status {status}; its log ends with:\n{self.tail()}")

    def wait(self, *, seconds: float = 5.0) -> None:
        """Wait until it has ended; raises subprocess.TimeoutExpired."""
        self._popen.wait(timeout=seconds)

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def wait_for(self, is_ready: Callable[[], bool], *, seconds: float = 20.0) -> None:
        """Wait until `is_ready()`; raises DiedError as soon as it has ended, TimeoutError after `seconds`."""

        def ready() -> bool:
            self.check()
            return is_ready()

        try:
            wait_until(ready, what=f"{self.name} is ready", seconds=seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; its log ends with:\n{self.tail()}") from None

    def suspend(self) -> None:
        """SIGSTOP: it keeps its sockets and does not answer. Returns when all its threads are stopped."""
        self._popen.send_signal(signal.SIGSTOP)
        self.suspended = True
        wait_until(self._is_stopped, what=f"{self.name} is stopped", every=0.001)

    def _is_stopped(self) -> bool:
        """Whether all its threads are stopped; SIGSTOP reaches threads on other processors later."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/stat")
        try:
            return all(task.read_text().rpartition(") ")[2][0] == "T" for task in tasks)
        except OSError:  # a thread ended meanwhile
            return False

    def resume(self) -> None:
        self._popen.send_signal(signal.SIGCONT)
        self.suspended = False

    def kill(self) -> None:
        """SIGKILL."""
        self._popen.kill()
        self._popen.wait()
        self.suspended = False

    def stop(self, *, seconds: float = 5.0) -> None:
        """SIGTERM, and SIGKILL if it still runs after `seconds`. Does nothing if it has ended."""
        if self.suspended:
            self.resume()
        self._popen.terminate()
        try:
            self._popen.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def close_pipes(self) -> None:
        """For a process that was started `piped` and has ended; not while another thread reads."""
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()
