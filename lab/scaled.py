"""The shipped alerting files with every duration scaled, so that what takes minutes is seen in seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION: Final = re.compile(r"(?:\d+(?:ms|[smhdw]))+")
_PART: Final = re.compile(r"(\d+)(ms|[smhdw])")
_TIMES: Final = frozenset(
    {"for", "keep_firing_for", "interval", "group_wait", "group_interval", "repeat_interval"}
)
_RANGE: Final = re.compile(r"(\[|\boffset )(" + _DURATION.pattern + r")\b")


def seconds_of(duration: str) -> float:
    """Seconds in a duration as Prometheus writes it (4m30s); raises ValueError."""
    if not _DURATION.fullmatch(duration):
        raise ValueError(f"not a duration: {duration!r}")
    return sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(duration))


def scale_duration(duration: str, factor: float) -> str:
    """The duration times the factor, to the millisecond, and at least one."""
    return f"{max(1, round(seconds_of(duration) * factor * 1000))}ms"


def scale(document: Any, factor: float, *, shortest_range: float = 4.0) -> Any:
    """Rules or routes with each waiting time, and each range and offset in an expression, times the factor.

    The two latter are never made shorter than `shortest_range` seconds, since a rate needs two scrapes.
    Labels stay: `cooldown` names a route.
    """
    if isinstance(document, Mapping):
        return {key: _scale_value(str(key), value, factor, shortest_range) for key, value in document.items()}
    if isinstance(document, list):
        return [scale(one, factor, shortest_range=shortest_range) for one in document]
    return document


def with_webhook(config: Mapping[str, Any], url: str) -> dict[str, Any]:
    """Alertmanager's configuration with every receiver a webhook at `url`/NAME, and no secrets to read."""
    hooks = [
        {
            "name": receiver["name"],
            "webhook_configs": [{"url": f"{url}/{receiver['name']}", "send_resolved": True}],
        }
        for receiver in config["receivers"]
    ]
    return {key: value for key, value in config.items() if key != "global"} | {"receivers": hooks}


def _scale_value(key: str, value: Any, factor: float, shortest_range: float) -> Any:
    if key in _TIMES:
        return scale_duration(value, factor)
    if key == "expr" and isinstance(value, str):
        return _RANGE.sub(lambda found: _scale_range(found, factor, shortest_range), value)
    return scale(value, factor, shortest_range=shortest_range)


def _scale_range(found: re.Match[str], factor: float, shortest: float) -> str:
    scaled = max(shortest, seconds_of(found[2]) * factor)
    return f"{found[1]}{round(scaled * 1000)}ms"
