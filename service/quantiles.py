"""Quantiles of a sample. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil


def quantile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that at least `share` (0 to 1) of all do not exceed (nearest rank); None of
    nothing."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else None
