from __future__ import annotations

from collections.abc import Callable

import pytest

from scaler.backtest.arrivals import HistoryPoint
from scaler.config.settings import ScalerSettings, TargetSettings
from scaler.plan import recording
from scaler.plan.recording import longest_runs, read_weeks
from scaler.prometheus.series_identity import Labels
from service.outcome import UnreadableError

HOUR = 3600.0
TARGET = TargetSettings.model_validate({"name": "mailer", "queues": ["mail*"]})


def labels(queue: str, bound: str | None = None, prefix: str = "bull") -> Labels:
    pairs = {("queue", queue), ("prefix", prefix), ("job", "oxherd")}
    return frozenset(pairs | ({("le", bound)} if bound else set()))


def buckets(
    queue: str, *days: tuple[float, ...], prefix: str = "bull"
) -> dict[Labels, list[tuple[float, float]]]:
    """Each day has how many attempts took up to 1, 10, 60 s, and in all."""
    return {
        labels(queue, bound, prefix): [(86_400.0 * number, day[place]) for number, day in enumerate(days, 1)]
        for place, bound in enumerate(("1", "10", "60", "+Inf"))
    }


def test_the_worst_day_of_the_slowest_queue_counts() -> None:
    classic = buckets("mail", (100, 100, 100, 100), (0, 100, 100, 100)) | buckets("mail-2", (100,) * 4)
    found = longest_runs(classic, {}, TARGET)
    assert found is not None
    assert (found.queue, found.beyond) == ("mail", False)
    assert found.seconds == pytest.approx(1 + 9 * 0.99)


def test_queues_of_others_do_not_count() -> None:
    classic = buckets("video", (0, 0, 100, 100)) | buckets("mail", (0, 0, 100, 100), prefix="other")
    assert longest_runs(classic, {}, TARGET) is None


def test_what_is_beyond_the_largest_bound_is_told() -> None:
    found = longest_runs(buckets("mail", (0, 0, 50, 100)), {}, TARGET)
    assert found is not None
    assert (found.seconds, found.beyond) == (60.0, True)


def test_native_ones_are_quantiles_already() -> None:
    found = longest_runs(buckets("mail", (100,) * 4), {labels("mail"): [(0.0, 3.0), (1.0, 700.0)]}, TARGET)
    assert found is not None
    assert (found.seconds, found.beyond) == (700.0, False)


def test_a_day_without_jobs_has_no_run_time() -> None:
    assert longest_runs(buckets("mail", (0, 0, 0, 0)), {}, TARGET) is None


def fitting_history(most: float, asked: list[tuple[float, float]]) -> Callable[..., list[HistoryPoint]]:
    """A server whose answers for more than `most` seconds are too large."""

    def read(*_: object, begin: float, end: float, **__: object) -> list[HistoryPoint]:
        asked.append((begin, end))
        if end - begin > most:
            raise UnreadableError("invalid", "the body is too large")
        return [HistoryPoint(at, 0.0, 0.0, 0.0, None, None, None) for at in (begin, end)]

    return read


def test_an_answer_that_is_too_large_is_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []
    monkeypatch.setattr(recording, "read_history", fitting_history(6 * HOUR, asked))
    points = read_weeks(ScalerSettings(), TARGET, begin=0.0, end=24 * HOUR, step=60.0)
    assert asked == [
        (0.0, 24 * HOUR),
        (0.0, 12 * HOUR),
        *((at * HOUR, (at + 6) * HOUR) for at in (0.0, 6.0, 12.0, 18.0)),
    ]
    assert [point.at / HOUR for point in points if point.ended is None] == [6.0, 12.0, 18.0]
    monkeypatch.setattr(recording, "read_history", fitting_history(60.0, asked))
    with pytest.raises(UnreadableError, match="too large"):
        read_weeks(ScalerSettings(), TARGET, begin=0.0, end=24 * HOUR, step=60.0)
    assert len(asked) < 15
