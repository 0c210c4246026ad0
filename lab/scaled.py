"""The shipped alerting files with every duration scaled, so that tests take seconds instead of minutes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_DURATION: Final = re.compile(r"(?:\d+(?:ms|[smhdwy]))+")
_PART: Final = re.compile(r"(\d+)(ms|[smhdwy])")
_WAITS: Final = frozenset({"interval", "for", "keep_firing_for"})
_ROUTES: Final = frozenset({"group_wait", "group_interval", "repeat_interval"})
_TIMES: Final = re.compile(
    r"""
      (?P<text> "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | `[^`]*` )
    | \[ \s* (?P<range> DURATION ) \s* (?: (?P<colon> : ) \s* (?P<step> DURATION )? \s* )? \]
    | (?P<offset> \boffset \s+ -? \s* ) (?P<back> DURATION )
    """.replace("DURATION", _DURATION.pattern),
    re.VERBOSE,
)


def duration_seconds(duration: str) -> float:
    """Seconds in a duration as Prometheus writes it (4m30s); raises ValueError."""
    if not _DURATION.fullmatch(duration):
        raise ValueError(f"not a duration: {duration!r}")
    return sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(duration))


def scale_duration(duration: str, factor: float, *, shortest: float = 0.001) -> str:
    """The duration times the factor, to the millisecond, and at least `shortest` seconds; 0 stays 0."""
    seconds = duration_seconds(duration)
    return f"{round(max(shortest, seconds * factor) * 1000)}ms" if seconds else "0s"


def scale(document: Any, factor: float, *, shortest_wait: float = 1.0, shortest_range: float = 4.0) -> Any:
    """Rules or routes with each waiting time, and each duration in an expression, multiplied by the factor.

    A waiting time of a rule and a subquery's step are at least `shortest_wait` seconds, the resolution of a
    Prometheus that scrapes and evaluates each second; a range and an offset are at least `shortest_range`,
    since a rate needs two scrapes. Labels are unchanged: `cooldown` names a route.
    """
    return _Scale(factor, shortest_wait, shortest_range).document(document)


def with_webhook(config: Mapping[str, Any], url: str) -> dict[str, Any]:
    """Alertmanager's configuration with a webhook at `url`/NAME as every receiver, and without secrets."""
    hooks = [
        {
            "name": receiver["name"],
            "webhook_configs": [{"url": f"{url}/{receiver['name']}", "send_resolved": True}],
        }
        for receiver in config["receivers"]
    ]
    return {key: value for key, value in config.items() if key != "global"} | {"receivers": hooks}


@dataclass(frozen=True, slots=True)
class _Scale:
    factor: float
    shortest_wait: float
    shortest_range: float

    def document(self, part: Any) -> Any:
        if isinstance(part, Mapping):
            return {key: self.value(key, value) for key, value in part.items()}
        if isinstance(part, list):
            return [self.document(item) for item in part]
        return part

    def value(self, key: str, value: Any) -> Any:
        if key in _WAITS:
            return scale_duration(value, self.factor, shortest=self.shortest_wait)
        if key in _ROUTES:
            return scale_duration(value, self.factor)
        if key == "expr":
            return _TIMES.sub(self.time, value)
        return value if key == "labels" else self.document(value)

    def time(self, match: re.Match[str]) -> str:
        """One range or offset of an expression; quoted text is unchanged."""
        if match["text"]:
            return match[0]
        if match["back"]:
            return match["offset"] + self.span(match["back"])
        step = (
            scale_duration(match["step"], self.factor, shortest=self.shortest_wait) if match["step"] else ""
        )
        return f"[{self.span(match['range'])}{match['colon'] or ''}{step}]"

    def span(self, duration: str) -> str:
        return scale_duration(duration, self.factor, shortest=self.shortest_range)
