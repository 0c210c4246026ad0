"""The usual answer to the query for the exporter's series, read as columns. Pure.

In nearly all steps each queue has one exporter, and each series one plain number. Then lists are looked up,
compared and converted as a whole, which takes a third of the time of one series after the other. Whatever is
not usual is left to `parse`, which says what is wrong with it.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Final, NamedTuple

from scaler.model import QueueSample
from scaler.prometheus.promql import QueueKey
from scaler.prometheus.series_identity import CELLS, STATUS, Labels, SeriesIdentities, SeriesIdentity

_MAX_LAG_SECONDS: Final = 60.0
_NUMBERS: Final = frozenset({float, int})  # not bool
_NOTHING: Final[list[float | None]] = [None] * CELLS
_PAUSED: Final = (None, 0.0, 1.0)


class UsualAnswer(NamedTuple):
    """The `time` of the query as it is in the answer, what exporters report of themselves with its value, and
    the numbers of `rows` of queues, CELLS of each (None: there is no such series)."""

    time: Any
    statuses: list[tuple[SeriesIdentity, str]]
    rows: list[tuple[QueueKey, Labels]]
    numbers: list[float | None]

    def samples(self, ahead: float) -> tuple[dict[QueueKey, QueueSample], dict[QueueKey, Labels]] | None:
        """By queue, and their exporters; None: a queue has two exporters, or a figure that is not usual.
        `ahead`: seconds that our clock is ahead of Prometheus's."""
        samples: dict[QueueKey, QueueSample] = {}
        origins: dict[QueueKey, Labels] = {}
        try:
            evaluated = float(self.time)
            for row, (key, origin) in enumerate(self.rows):
                figures = self.numbers[row * CELLS : (row + 1) * CELLS]
                if figures != _NOTHING:
                    sample = _sample(figures, evaluated, ahead)
                    if sample is None or key in samples:
                        return None
                    samples[key], origins[key] = sample, origin
        except OverflowError:
            return None
        return samples, origins


def read_usual(series: list[Any], identities: SeriesIdentities) -> UsualAnswer | None:
    """None: the answer is not usual."""
    try:
        times, texts = zip(*[entry["value"] for entry in series], strict=True)
        found = identities.of_all([entry["metric"] for entry in series])
        numbers = _numbers(texts)
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    if numbers is None or not _NUMBERS.issuperset(map(type, times)) or len(set(times)) > 1:
        return None
    places = [identity.cell for identity in found]
    statuses = [pair for pair in zip(found, texts, strict=True) if pair[0].cell == STATUS]
    if None in places or len(set(places)) + len(statuses) != len(places) + bool(statuses):
        return None
    cells: list[float | None] = [None] * (len(identities.rows) * CELLS + 1)  # the last is that of STATUS
    for place, number in zip(places, numbers, strict=True):
        cells[place] = number  # type: ignore[index]  # none of them is None
    return UsualAnswer(times[0], statuses, identities.rows, cells)


def _numbers(texts: tuple[Any, ...]) -> list[float] | None:
    """None: one of them may not be a number as Prometheus writes it, is not finite or below 0. Raises
    ValueError and TypeError."""
    together = "".join(texts)
    if not together.isascii() or "_" in together or together.split() != [together]:
        return None
    numbers = list(map(float, texts))
    return numbers if isfinite(sum(numbers)) and min(numbers) >= 0 else None


def _sample(figures: list[float | None], evaluated: float, ahead: float) -> QueueSample | None:
    """The measures that figures of one queue make; None: they are not usual. As `derive_measures`, which also
    says why."""
    (
        at,
        waiting,
        prioritized,
        active,
        completed,
        failed,
        added,
        oldest,
        due,
        paused,
        busy,
        ttl,
        limit,
        stalled,
        *runs,
    ) = figures
    if at is None or waiting is None or prioritized is None or active is None:
        return None
    if evaluated - at <= -_MAX_LAG_SECONDS or paused not in _PAUSED:
        return None
    jobs = sum((waiting, prioritized))
    duration_sum, duration_count, native_sum, native_count = map(_together, runs[::2], runs[1::2])
    if (duration_sum is None and native_sum is not None) or (
        duration_count is None and native_count is not None
    ):  # where both forms are there they are the same figures
        duration_sum = duration_sum if native_sum is None else native_sum
        duration_count = duration_count if native_count is None else native_count
    return QueueSample(
        at=at + ahead,
        waiting=jobs,
        active=active,
        completed=completed,
        failed=failed,
        added=added,
        duration_sum=duration_sum,
        duration_count=duration_count,
        oldest_waiting=oldest,
        due=due if due is None or paused is None else due * (1 - paused),
        busy_seconds=busy,
        held=None if paused is None else jobs * paused,
        limit_seconds=ttl,
        concurrency_limit=limit,
        stalled=stalled,
    )


def _together(completed: float | None, failed: float | None) -> float | None:
    """Of both outcomes, as far as there are such."""
    if completed is None or failed is None:
        return completed if failed is None else failed
    return sum((completed, failed))
