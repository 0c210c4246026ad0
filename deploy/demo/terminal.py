"""The demo's output, and the lines that are typed in its terminal."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from threading import Thread
from types import TracebackType
from typing import Final, Self

import click

from deploy.demo.notices import Notice

COLOURS: Final = {"FIRING": "red", "REPEATED": "yellow", "RESOLVED": "green"}
"""By state. Other states have no colour and are not longer."""


def say(text: str) -> None:
    click.echo(f"demo: {text}")


def event(state: str, text: str) -> None:
    """Print an event with the time of day, in colour if stdout is a terminal."""
    column = f"{state:<8}"
    styled = click.style(column, fg=COLOURS[state]) if state in COLOURS else column
    click.echo(f"{time.strftime('%H:%M:%S')}  {styled}  {text}")


def show(notice: Notice) -> None:
    event(notice.state, notice.text)


class TypedLines:
    """A thread calls `take` with each line that is typed, until close() or the end of the input."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._ended, self._end = os.pipe()
        self._thread = Thread(target=self._read, name="typed lines")
        self._thread.start()

    def close(self) -> None:
        os.close(self._end)
        self._thread.join()
        os.close(self._ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        # sys.stdin.readline() cannot be interrupted: a demo that stops would wait for it.
        typed, rest = sys.stdin.fileno(), b""
        while True:
            ready, _, _ = select.select([typed, self._ended], [], [])
            if self._ended in ready:
                return
            try:
                read = os.read(typed, 4096)
            except OSError:  # the shell has the terminal, since the demo was started in the background
                return
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                self._take(line.decode(errors="replace"))
