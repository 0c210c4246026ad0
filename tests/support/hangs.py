"""The error of a test that takes too long."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType

import pytest


class TimedOutError(BaseException):
    """Neither the code under test nor hypothesis catches it; pytest fails one test with it."""


def raise_timed_out(
    fail: Callable[[int, FrameType | None], object], number: int, frame: FrameType | None
) -> None:
    """A signal handler: what pytest-timeout's own does, with TimedOutError for its failure."""
    try:
        fail(number, frame)
    except pytest.fail.Exception as failure:
        raise TimedOutError(str(failure)) from None
