"""Waiting for something to become true, and not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], *, what: str, seconds: float = 20.0, every: float = 0.02) -> T:
    """The first true answer of `condition`; raises TimeoutError after `seconds`, naming `what`."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds:g} s still not so: {what} (last answer: {answer!r})")
        time.sleep(every)
