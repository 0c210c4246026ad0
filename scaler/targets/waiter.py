"""Waits for any of many files, in a thread that others can wake."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Generic, TypeVar

D = TypeVar("D")


class Waiter(Generic[D]):
    """`register`, `unregister` and `wait` are for one thread. Takes three file descriptors."""

    def __init__(self) -> None:
        """Raises OSError: there are no more of them."""
        self._reader, self._writer = os.pipe()
        try:
            self._selector = selectors.DefaultSelector()
        except OSError:
            os.close(self._reader)
            os.close(self._writer)
            raise
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        self._selector.register(self._reader, selectors.EVENT_READ)

    def register(self, file: socket.socket | int, data: D) -> None:
        self._selector.register(file, selectors.EVENT_READ, data)

    def unregister(self, file: socket.socket | int) -> None:
        self._selector.unregister(file)

    def wait(self, seconds: float) -> Iterator[D]:
        """What the files were registered with that can be read within these seconds."""
        for key, _ in self._selector.select(seconds):
            if key.fd == self._reader:
                with suppress(BlockingIOError):
                    os.read(self._reader, 1024)
            else:
                yield key.data

    def wake(self) -> None:
        """End `wait` in its thread, or the next one. From any thread."""
        with suppress(OSError):  # the pipe is full, so the thread wakes; or closed: there is none
            os.write(self._writer, b"x")

    def close(self) -> None:
        self._selector.close()
        os.close(self._reader)
        os.close(self._writer)
