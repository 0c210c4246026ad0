"""Checks of a probe's response. Pure: no socket, no clock."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from exporter.config.body_pattern import body_pattern
from exporter.snapshot.histogram import Histogram

ProbeFailure: TypeAlias = Literal[
    "status", "body", "timeout", "refused", "unreachable", "dns", "certificate", "redirect", "protocol"
]

FAILURES: Final[tuple[ProbeFailure, ...]] = (
    "status",
    "body",
    "timeout",
    "refused",
    "unreachable",
    "dns",
    "certificate",
    "redirect",
    "protocol",
)

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


_LONGEST_HOST: Final = 253  # characters of a name in DNS


class ProbeError(Exception):
    """The endpoint failed its probe; `kind` is one of FAILURES, the text is one line without secrets."""

    def __init__(self, kind: ProbeFailure, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.kind: ProbeFailure = kind
        self.status = status


def check_status(status: int, expected: Sequence[str]) -> None:
    """`wanted` are codes and classes: 204, 2xx. Raises ProbeError."""
    if not any(str(status) == pattern or f"{status // 100}xx" == pattern for pattern in expected):
        raise ProbeError("status", f"status {status}, expected {' or '.join(expected)}", status=status)


def check_body(body: bytes, pattern: str | None, status: int) -> None:
    """Raises ProbeError if the body does not match."""
    if pattern is not None and not body_pattern(pattern).matches(body):
        raise ProbeError("body", f"the body does not match {pattern!r}", status=status)


def next_url(url: str, location: str | None, follow: Literal["no", "same_host", "any"], status: int) -> str:
    """The target of a redirect. Raises ProbeError if it must not be followed."""
    if not location:
        raise ProbeError("redirect", f"status {status} without a location", status=status)
    target = urllib.parse.urljoin(url, location)
    parts, before = urllib.parse.urlsplit(target), urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ProbeError("redirect", "redirects to a URL that is not http or https", status=status)
    if follow == "no":
        raise ProbeError("redirect", f"status {status}, a redirect", status=status)
    # Most redirects lead from http to https of the same host.
    secured = parts.hostname == before.hostname and (before.scheme, parts.scheme) == ("http", "https")
    same = (parts.hostname, parts.scheme) == (before.hostname, before.scheme)
    if follow == "same_host" and not (same or secured):
        raise ProbeError(
            "redirect", f"redirects to another origin, on {parts.hostname[:_LONGEST_HOST]}", status=status
        )
    return target


def add_observation(histogram: Histogram | None, seconds: float) -> Histogram:
    """The histogram with one more observation."""
    counts = list(histogram.counts) if histogram else [0] * (len(BOUNDS) + 1)
    counts[sum(1 for bound in BOUNDS if seconds > bound)] += 1
    return Histogram(BOUNDS, tuple(counts), (histogram.total if histogram else 0.0) + seconds)
