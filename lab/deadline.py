"""Waiting for a condition, with a time-out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], *, what: str, seconds: float = 20.0, every: float = 0.02) -> T:
    """The first true result of `condition`; raises TimeoutError, which names `what`, after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what} (last result: {result!r})")
        time.sleep(every)
