"""Answers that real Prometheus gave to the scaler's queries, in each form of the histograms of run times.
They are recorded again by `python -m tests.support.run_times`, with each version of `make test-prometheus`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scaler.model import QueueSample
from scaler.prometheus.exporter_series import exporter_query, without_native_series
from scaler.prometheus.histogram import run_time_p99s, run_time_query
from scaler.prometheus.parse import read_answer
from scaler.prometheus.promql import QueueKey
from tests.support.run_times import RECORDED, ROUNDS, RUNS, exact_p99, of_rounds

FILES = sorted(RECORDED.glob("*.json"))
GROWTH = 2 ** (1 / 8)
JOBS = [
    (file, job)
    for file in FILES
    for job in ("classic", "native", "both", *(["converted"] if file.stem >= "3.5" else []))
]
LARGEST_BOUND = 300.0


def recorded(file: Path, query: str, job: str) -> list[dict[str, Any]]:
    """The series of one job, and those of none."""
    series = json.loads(file.read_text())[query]["data"]["result"]
    return [entry for entry in series if entry["metric"].get("job", job) == job]


def durations(series: list[dict[str, Any]]) -> dict[str, tuple[float | None, float | None]]:
    document = {"status": "success", "data": {"resultType": "vector", "result": series}}
    read = read_answer(document, queried_at=float(series[0]["value"][0])).samples
    samples = {key.name: sample for key, sample in read.items() if isinstance(sample, QueueSample)}
    assert samples.keys() == RUNS.keys()
    assert all(sample.completed and sample.failed for sample in samples.values())
    return {name: (sample.duration_sum, sample.duration_count) for name, sample in samples.items()}


def test_there_are_answers_of_each_version() -> None:
    assert [file.stem for file in FILES] == ["2.42.0", "2.53.3", "3.5.3"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_they_are_of_the_queries_of_today(file: Path) -> None:
    assert {name: answer["query"] for name, answer in json.loads(file.read_text()).items()} == {
        "step": exporter_query("queue", {}, ()),
        "native": exporter_query("queue", {}, (), native=True),
        "slowest": run_time_query(sorted(RUNS), {}),
    }


@pytest.mark.parametrize(("file", "job"), JOBS, ids=lambda part: getattr(part, "stem", part))
def test_run_times_are_exact_in_any_form(file: Path, job: str) -> None:
    assert durations(recorded(file, "native", job)) == of_rounds(ROUNDS)


@pytest.mark.parametrize(("file", "job"), JOBS, ids=lambda part: getattr(part, "stem", part))
def test_the_first_query_shows_that_there_are_native_ones(file: Path, job: str) -> None:
    series, native = without_native_series(recorded(file, "step", job))
    assert native
    with_classic = job == "classic" or (job == "both" and file.stem >= "2.45")
    expected = durations(recorded(file, "native", job)) if with_classic else dict.fromkeys(RUNS, (None, None))
    assert durations(series) == expected


@pytest.mark.parametrize(("file", "job"), JOBS, ids=lambda part: getattr(part, "stem", part))
def test_the_slowest_jobs_are_known_within_a_bucket(file: Path, job: str) -> None:
    p99s = run_time_p99s(recorded(file, "slowest", job))
    assert p99s.keys() == {QueueKey("bull", name) for name in RUNS}
    for key, seconds in p99s.items():
        exact = exact_p99(key.name)
        if job in ("native", "both"):
            assert exact / GROWTH <= seconds <= exact * GROWTH
        else:
            assert seconds == pytest.approx(min(exact, LARGEST_BOUND), rel=0.1)
