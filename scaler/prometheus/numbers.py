"""Numbers as Prometheus writes them. Pure."""

from __future__ import annotations

import math
from functools import lru_cache


def finite_number(text: object) -> float:
    """A sample's value as Prometheus writes it. Raises ValueError if it is not a finite number."""
    if not isinstance(text, str):
        raise ValueError("not a number")  # noqa: TRY004  # it is data
    return _parsed(text)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> float:
    """Remembered: most figures of most queues are the same few numbers."""
    if not text.isascii() or "_" in text or text != text.strip():
        raise ValueError("not a number")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value
