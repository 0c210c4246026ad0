"""A time without room for another thread, as a limit of processes makes it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def no_threads(of: Callable[[str], bool] = lambda _: True) -> Iterator[None]:
    """No thread with such a name can be started meanwhile."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if of(thread.name):
            raise RuntimeError("can't start new thread")
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield
