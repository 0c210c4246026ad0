"""When to decide: right after a scrape, as the age of the metrics is the floor of every autoscaler. Pure.

The times of the samples tell the rhythm of the scrapes. It is kept to as nearly as the interval allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_LAG_SECONDS: Final = 0.25  # from a scrape's time until its samples can be queried, to begin with
_RETRY_SECONDS: Final = 0.5
_MOST_RETRIES: Final = 3
_LEAST_PERIOD: Final = 0.5  # nothing is scraped more often
_MOST_LAG: Final = 0.5  # of the time between two scrapes


@dataclass(frozen=True, slots=True)
class Rhythm:
    """`at`: the newest sample (unix s), `period`: seconds between it and the one before; both None until
    known. `lag`: seconds from a scrape until its samples can be queried; `retries` of a late sample."""

    at: float | None = None
    period: float | None = None
    lag: float = _LAG_SECONDS
    retries: int = 0


def next_step(rhythm: Rhythm, newest: float | None, interval: float, now: float) -> tuple[float, Rhythm]:
    """Seconds until the next step, after one at `now` whose newest sample is of `newest` (None: no sample).

    It is `interval` until the scrapes are known; then the nearest time right after a scrape, or, if they are
    further apart than `interval`, at every interval since one.
    """
    if newest is None:
        return interval, Rhythm(lag=rhythm.lag)
    if rhythm.at is None or newest < rhythm.at:
        return interval, Rhythm(at=newest, lag=rhythm.lag)
    if newest > rhythm.at:
        period, lag = newest - rhythm.at, rhythm.lag
        if rhythm.retries:
            lag = min(_MOST_LAG * period, now - newest)
        if period < _LEAST_PERIOD:
            return interval, Rhythm(at=newest, lag=lag)
        if rhythm.period is not None and period > 1.5 * rhythm.period:
            period = min(period, 2 * rhythm.period)  # a scrape that was missed is no slower rhythm
        return _until(newest, period, lag, interval, now), Rhythm(newest, period, lag)
    known = rhythm.period
    if known is None:
        return interval, rhythm
    late = now >= rhythm.at + known + rhythm.lag
    if late and rhythm.retries < _MOST_RETRIES:
        retries = Rhythm(rhythm.at, known, rhythm.lag, rhythm.retries + 1)
        return min(interval, _RETRY_SECONDS), retries
    return _until(rhythm.at, known, rhythm.lag, interval, now), Rhythm(rhythm.at, known, rhythm.lag)


def _until(at: float, period: float, lag: float, interval: float, now: float) -> float:
    """Seconds to the first time of the grid that is half a step away at least."""
    step = max(1, round(interval / period)) * period if period <= interval else interval
    begin = at + lag
    count = max(1, round((now - begin) / step) + 1)
    due = begin + count * step
    while due - now < step / 2:
        due += step
    following = at + period + lag
    if period > interval and now < following < due and following - now > 0.1 * interval:
        due = following  # the scrape that comes before the next interval ends
    return min(2 * interval, due - now)
