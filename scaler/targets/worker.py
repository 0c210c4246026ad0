"""A worker as the scaler holds it: its keeper, the socket between them, and the pipe of what it prints."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

LONGEST_LINE: Final = 8000
"""Bytes; what is longer is cut into several lines."""

_READ_AT_ONCE: Final = 1 << 16


class Lines:
    """Bytes as they come, to lines of text."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, received: bytes) -> list[str]:
        """The lines that are complete now."""
        *whole, rest = (self._rest + received).split(b"\n")
        while len(rest) >= LONGEST_LINE:
            whole.append(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        self._rest = rest
        return [_text(part) for line in whole for part in _parts(line)]

    def end(self) -> list[str]:
        """A last line without an end."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


@dataclass(frozen=True, slots=True)
class ShimMessage:
    """What a keeper wrote: `word` is started, with the worker's pid, or ended, with its wait status."""

    word: str
    number: int


class WorkerProcess:
    """One worker and its keeper. For one thread; nothing in here waits, but for a keeper that is dying."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start them. Raises OSError where the machine has no room for another process."""
        ours, theirs = socket.socketpair()
        output, their_output = os.pipe()
        try:
            self._popen = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=their_output,
                stderr=their_output,
                env=dict(environ),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            os.close(output)
            raise
        finally:
            theirs.close()
            os.close(their_output)
        ours.setblocking(False)
        os.set_blocking(output, False)
        self.control: Final = ours
        self.output: Final = output
        self._words = Lines()
        self._lines = Lines()
        self.terminating = False

    def terminate(self) -> None:
        """SIGTERM to the worker, and SIGKILL to what is left after the grace: its keeper sees to both."""
        self.terminating = True
        with suppress(OSError):  # it is dead already
            self.control.shutdown(socket.SHUT_WR)

    def receive(self) -> tuple[list[ShimMessage], bool]:
        """What its keeper has said since, and whether the keeper is still there."""
        try:
            received = self.control.recv(_READ_AT_ONCE)
        except BlockingIOError:
            return [], True
        except OSError:
            received = b""
        words = (line.split() for line in self._words.feed(received))
        return [ShimMessage(word, int(number)) for word, number in words], bool(received)

    def read(self) -> tuple[list[str], bool]:
        """Lines that it has printed since, and whether there may be more."""
        try:
            received = os.read(self.output, _READ_AT_ONCE)
        except BlockingIOError:
            return [], True
        return (self._lines.feed(received), True) if received else (self._lines.end(), False)

    def reap(self) -> bool:
        """Let go of a keeper that closed its end. Whether any of its group is left: then it was killed."""
        self._popen.kill()
        self._popen.wait()
        self.control.close()
        return self.signal_group(signal.SIGTERM)

    def signal_group(self, number: signal.Signals) -> bool:
        """Signal the keeper, its worker and all theirs that stayed in the group; whether there is one."""
        try:
            os.killpg(self._popen.pid, number)
        except OSError:  # none, or none that we may signal
            return False
        return True


def status_text(status: int) -> str:
    """A wait status in words: `exit 1`, `SIGKILL`."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _parts(line: bytes) -> list[bytes]:
    return [line[at : at + LONGEST_LINE] for at in range(0, len(line), LONGEST_LINE)] or [line]


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="replace")
