from __future__ import annotations

import pytest

from scaler.config.settings import TargetSettings
from scaler.plan.recording import longest_runs
from scaler.prometheus.series_identity import Labels

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
