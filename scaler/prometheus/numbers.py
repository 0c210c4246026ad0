"""Numbers as Prometheus writes them. Pure."""

from __future__ import annotations

import math


def finite_number(text: object) -> float:
    """A sample's value as Prometheus writes it. Raises ValueError if it is not a finite number."""
    if not isinstance(text, str) or not text.isascii() or "_" in text or text != text.strip():
        raise ValueError("not a number")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value
