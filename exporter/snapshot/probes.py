"""The endpoints that are probed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.snapshot.histogram import Histogram


@dataclass(frozen=True, slots=True)
class ProbeState:
    """The result of the last probe of an endpoint. `at` in unix s, `seconds` is the duration; `failure` is
    one word, None on success; `certificate_expires` in unix s; `durations`, `failures` since the start."""

    at: float
    seconds: float
    failure: str | None
    message: str
    status: int | None
    certificate_expires: float | None
    durations: Histogram
    failures: Mapping[str, int]
