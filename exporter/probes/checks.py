"""What a probe's answer is worth. Pure: no socket, no clock."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from exporter.snapshot import Histogram

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


class ProbeError(Exception):
    """The endpoint failed its probe; `kind` is one word of FAILURES, the text a line without any secret."""

    def __init__(self, kind: ProbeFailure, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.kind: ProbeFailure = kind
        self.status = status


def check_status(status: int, wanted: Sequence[str]) -> None:
    """`wanted` are codes and classes: 204, 2xx. Raises ProbeError."""
    if not any(str(status) == one or f"{status // 100}xx" == one for one in wanted):
        raise ProbeError("status", f"answered {status}, not {' or '.join(wanted)}", status=status)


def check_body(body: bytes, pattern: str | None, status: int) -> None:
    """Raises ProbeError where nothing in the body matches."""
    if pattern is not None and not re.search(pattern, body.decode("utf-8", "replace")):
        raise ProbeError("body", f"nothing in the body matches {pattern!r}", status=status)


def next_url(url: str, location: str | None, follow: Literal["no", "same_host", "any"], status: int) -> str:
    """Where a redirect leads. Raises ProbeError where it may not be followed."""
    if not location:
        raise ProbeError("redirect", f"answered {status} without a location", status=status)
    target = urllib.parse.urljoin(url, location)
    parts, before = urllib.parse.urlsplit(target), urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ProbeError("redirect", "redirects to what is no http or https URL", status=status)
    if follow == "no":
        raise ProbeError("redirect", f"answered {status}, a redirect", status=status)
    # From http to https of the same host is where most redirects lead.
    secured = parts.hostname == before.hostname and (before.scheme, parts.scheme) == ("http", "https")
    same = (parts.hostname, parts.scheme) == (before.hostname, before.scheme)
    if follow == "same_host" and not (same or secured):
        raise ProbeError("redirect", f"redirects elsewhere, to {parts.hostname}", status=status)
    return target


def observed(histogram: Histogram | None, seconds: float) -> Histogram:
    """The histogram with one duration more."""
    counts = list(histogram.counts) if histogram else [0] * (len(BOUNDS) + 1)
    counts[sum(1 for bound in BOUNDS if seconds > bound)] += 1
    return Histogram(BOUNDS, tuple(counts), (histogram.total if histogram else 0.0) + seconds)
