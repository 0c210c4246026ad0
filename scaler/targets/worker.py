"""A worker process: its shim, the socket to the shim, and the pipe of the worker's output."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from scaler.targets.lines import Lines

_READ_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class ShimMessage:
    """A message of the shim: `event` is started, with the worker's pid, or ended, with its wait status."""

    event: str
    value: int


class WorkerProcess:
    """One worker and its shim. For one thread; nothing in here blocks, except to wait for a killed shim."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Spawn them. Raises OSError if the machine cannot start another process."""
        control, shim_control = socket.socketpair()
        output, shim_output = os.pipe()
        try:
            self._popen = subprocess.Popen(
                command,
                stdin=shim_control.fileno(),
                stdout=shim_output,
                stderr=shim_output,
                env=dict(environ),
                start_new_session=True,
            )
        except BaseException:
            control.close()
            os.close(output)
            raise
        finally:
            shim_control.close()
            os.close(shim_output)
        control.setblocking(False)
        os.set_blocking(output, False)
        self.control: Final = control
        self.output: Final = output
        self._messages = Lines()
        self.terminating = False

    def terminate(self) -> None:
        """SIGTERM to the worker, and SIGKILL to what is left after the grace period: its shim sends both."""
        self.terminating = True
        with suppress(OSError):  # it has exited already
            self.control.shutdown(socket.SHUT_WR)

    def set_grace(self, seconds: float) -> None:
        """Another grace period; of no effect once the worker is being terminated."""
        with suppress(OSError):  # it has exited already
            self.control.send(f"grace {seconds:f}\n".encode())

    def receive(self) -> tuple[list[ShimMessage], bool]:
        """New messages of the shim, and whether the shim still runs."""
        try:
            received = self.control.recv(_READ_BYTES)
        except BlockingIOError:
            return [], True
        except OSError:
            received = b""
        messages = (line.split() for line in self._messages.feed(received))
        return [ShimMessage(event, int(value)) for event, value in messages], bool(received)

    def reap(self) -> bool:
        """Reap a shim that closed its socket; whether its group has processes left: then it was killed."""
        self._popen.kill()
        self._popen.wait()
        self.control.close()
        return self.signal_group(signal.SIGTERM)

    def signal_group(self, number: signal.Signals) -> bool:
        """Signal the shim, its worker and descendants in the process group; whether there is any."""
        try:
            os.killpg(self._popen.pid, number)
        except OSError:  # there is none, or none that we may signal
            return False
        return True


def status_text(status: int) -> str:
    """A wait status as text: `exit 1`, `SIGKILL`."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
