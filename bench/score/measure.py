"""What a cause did to the score: looks in time, and the row that they make. Pure; seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exporter.health import HEALTHY, status_of


@dataclass(frozen=True, slots=True)
class Look:
    """The exporter at one moment: its score (None: no answer), its conditions, the alerts that fire."""

    at: float
    score: float | None
    conditions: frozenset[str]
    alerts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Row:
    """`dropped` and `alerted` are seconds after the beginning, `recovered` after the end; None: never.
    `condition` is None for an event that only an alert tells."""

    cause: str
    condition: str | None
    before: float
    during: float
    after: float
    dropped: float | None
    alerted: float | None
    recovered: float | None
    beside: frozenset[str] = frozenset()

    @property
    def band(self) -> str:
        return status_of(self.during)


def row_of(
    cause: str, condition: str | None, alert: str | None, looks: Sequence[Look], span: tuple[float, float]
) -> Row:
    """Of the looks before a cause began, while it was there, and after its end: `span`."""
    begin, end = span
    before = [look for look in looks if look.at < begin]
    during = [look for look in looks if begin <= look.at < end]
    after = [look for look in looks if look.at >= end]
    there = _first(look for look in during if condition in look.conditions)
    fired = _first(look for look in looks if look.at >= begin and alert in look.alerts)
    gone = _first(look for look in after if condition not in look.conditions and (look.score or 0) >= HEALTHY)
    return Row(
        cause,
        condition,
        min(_scores(before), default=0.0),
        min(_scores(during), default=0.0),
        max(_scores(after), default=0.0),
        None if there is None else there.at - begin,
        None if fired is None else fired.at - begin,
        None if gone is None else gone.at - end,
        frozenset().union(*(look.conditions for look in during)) - {condition},
    )


def problems(row: Row, expected_band: str, *, pages: bool) -> list[str]:
    """What a row shows that is not right."""
    found = []
    if row.before < HEALTHY:
        found.append(f"{row.cause}: the score was {row.before:g} before it began")
    if row.condition is None:
        pass
    elif row.dropped is None:
        found.append(f"{row.cause}: {row.condition} was never there")
    elif _BANDS.index(row.band) < _BANDS.index(expected_band):
        found.append(f"{row.cause}: {row.during:g} is {row.band}, not {expected_band}")
    if pages and row.alerted is None:
        found.append(f"{row.cause}: no alert")
    if row.recovered is None:
        found.append(f"{row.cause}: not healthy again, {row.after:g}")
    return found


def drops(looks: Iterable[Look], allowed: Sequence[tuple[float, float]]) -> list[Look]:
    """Looks below the healthy band, or without an answer, outside the times in which they may be."""
    return [
        look
        for look in looks
        if (look.score is None or look.score < HEALTHY)
        and not any(begin <= look.at <= end for begin, end in allowed)
    ]


_BANDS = ("healthy", "warning", "critical")


def _first(looks: Iterable[Look]) -> Look | None:
    return next(iter(looks), None)


def _scores(looks: Iterable[Look]) -> list[float]:
    return [look.score for look in looks if look.score is not None]
