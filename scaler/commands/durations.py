"""Options that are durations: callbacks of click, which read them as seconds."""

from __future__ import annotations

import re
from typing import Final

import click

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MOST_LISTED: Final = 8


def as_seconds(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """90s, 30m, 2h, 1d, and sums of them such as 1h30m."""
    if text is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise click.BadParameter(f"{text!r} is not a duration: write 90s, 30m, 2h, 1d or 1h30m")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < seconds <= 366 * 86400:
        raise click.BadParameter(f"{text!r} should be above 0 and at most 366d")
    return seconds


def as_seconds_range(_: click.Context, __: click.Parameter, text: str) -> tuple[float, float]:
    """10-40, or a single number."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?", text)
    low, high = (float(parts[1]), float(parts[2] or parts[1])) if parts else (1.0, 0.0)
    if high < low:
        raise click.BadParameter(f"{text!r} should be seconds, as 20 or 10-40")
    return low, high


def as_seconds_list(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[float, ...] | None:
    """10s,30s,2m: at most eight."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) > _MOST_LISTED:
        raise click.BadParameter(f"{len(parts)} durations are too many: at most {_MOST_LISTED}")
    return tuple(as_seconds(context, parameter, part.strip()) or 0.0 for part in parts)
