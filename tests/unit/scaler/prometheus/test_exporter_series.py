"""The query for the exporter's own series, and the measures that are made of its answer."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Missing, QueueSample
from scaler.prometheus.exporter_series import (
    MAX_TEXT_BYTES,
    exporter_queries,
    exporter_query,
    without_native_series,
)
from scaler.prometheus.parse import read_answer
from scaler.prometheus.promql import QueueKey
from service.outcome import UnreadableError

NOW = 1_000_000.0
MAIL = QueueKey("bull", "mail")
LABELS = {"prefix": "bull", "queue": "mail", "job": "oxherd", "instance": "a"}
SERIES: dict[tuple[str, ...], str] = {
    ("bullmq_job_count", "state", "waiting"): "3",
    ("bullmq_job_count", "state", "prioritized"): "2",
    ("bullmq_job_count", "state", "active"): "1",
    ("bullmq_job_completed_total",): "10",
    ("bullmq_job_failed_total",): "1",
    ("bullmq_job_added_total",): "16",
    ("bullmq_job_processing_seconds_sum", "outcome", "completed"): "4.5",
    ("bullmq_job_processing_seconds_sum", "outcome", "failed"): "0.5",
    ("bullmq_job_processing_seconds_count", "outcome", "completed"): "10",
    ("bullmq_job_processing_seconds_count", "outcome", "failed"): "1",
    ("bullmq_queue_oldest_waiting_seconds",): "7",
    ("bullmq_queue_delayed_due",): "4",
    ("bullmq_queue_paused",): "0",
    ("bullmq_queue_busy_seconds_total",): "8",
    ("bullmq_queue_rate_limit_ttl_seconds",): "2",
    ("bullmq_queue_concurrency_limit",): "9",
    ("bullmq_job_stalled_total",): "6",
}
WHOLE = QueueSample(
    at=NOW - 3,
    waiting=5,
    active=1,
    completed=10,
    failed=1,
    added=16,
    duration_sum=5,
    duration_count=11,
    oldest_waiting=7,
    due=4,
    busy_seconds=8,
    held=0,
    limit_seconds=2,
    concurrency_limit=9,
    stalled=6,
)


def mail(*without: str, **values: str) -> QueueSample | Missing | None:
    """The sample of `mail`, without the series whose name ends so, and with other values of those that do."""
    result: list[dict[str, Any]] = []
    for (name, *pair), value in SERIES.items():
        part = pair[1] if pair else name
        if any(part.endswith(end) for end in without):
            continue
        text = next((other for end, other in values.items() if part.endswith(end)), value)
        metric = {"__name__": name, **LABELS, **dict([pair] if pair else [])}
        result.append({"metric": metric, "value": [NOW, text]})
    timed = {"oxherd_measure": "timestamp", "state": "active", **LABELS}
    if "timestamp" not in without:
        result.append({"metric": timed, "value": [NOW, str(NOW - 3)]})
    return samples_of(*result).get(MAIL)


def samples_of(*result: dict[str, Any]) -> dict[QueueKey, QueueSample | Missing]:
    document = {"status": "success", "data": {"resultType": "vector", "result": list(result)}}
    return dict(read_answer(document, queried_at=NOW).samples)


def test_the_measures_are_made_of_the_series() -> None:
    assert mail() == WHOLE


@pytest.mark.parametrize(
    ("without", "absent"),
    [
        ("_paused", {"held"}),
        ("_due", {"due"}),
        ("_sum", {"duration_sum"}),
        ("outcome", set()),
        ("_limit", {"concurrency_limit"}),
        ("_ttl_seconds", {"limit_seconds"}),
        ("stalled_total", {"stalled"}),
        ("added_total", {"added"}),
    ],
)
def test_a_series_that_is_absent_is_none(without: str, absent: set[str]) -> None:
    if without == "_sum":
        sample = mail("completed", "failed")
        absent |= {"duration_count"}
    else:
        sample = mail(without)
    assert isinstance(sample, QueueSample)
    assert {name for name in QueueSample._fields if getattr(sample, name) != getattr(WHOLE, name)} == absent
    assert all(getattr(sample, name) is None for name in absent)


@pytest.mark.parametrize(
    ("part", "measure"),
    [("waiting", "waiting"), ("prioritized", "waiting"), ("active", "active"), ("timestamp", "timestamp")],
)
def test_without_one_of_the_counts_a_sample_is_missing(part: str, measure: str) -> None:
    sample = mail(part)
    assert isinstance(sample, Missing)
    assert (sample.kind, f"no {measure}" in sample.message) == ("empty", True)


def test_one_outcome_alone_is_the_sum() -> None:
    sample = mail("failed")
    assert isinstance(sample, QueueSample)
    assert (sample.duration_sum, sample.duration_count) == (4.5, 10)


@pytest.mark.parametrize(("paused", "due", "held"), [("0", 4, 0), ("1", 0, 5)])
def test_a_pause_holds_what_waits_and_what_is_due(paused: str, due: float, held: float) -> None:
    sample = mail(_paused=paused)
    assert isinstance(sample, QueueSample)
    assert (sample.due, sample.held) == (due, held)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "1_0", " 1", "x", "-9"])
@pytest.mark.parametrize("part", ["waiting", "prioritized", "active", "completed", "_due", "added_total"])
def test_what_is_not_a_number_of_jobs_makes_the_queue_missing(part: str, value: str) -> None:
    sample = mail(**{part: value})
    assert isinstance(sample, Missing)
    assert sample.kind == "invalid"


def test_a_queue_of_which_only_parts_are_there_is_not_known() -> None:
    labels = {**LABELS, "state": "waiting"}
    assert samples_of({"metric": {"__name__": "bullmq_job_count", **labels}, "value": [NOW, "1"]}) == {}


@pytest.mark.parametrize(
    "metric",
    [
        {"__name__": "bullmq_job_count", **LABELS, "state": "delayed"},
        {"__name__": "bullmq_job_count", **LABELS},
        {"__name__": "other", **LABELS},
        {**LABELS},
    ],
)
def test_a_series_that_was_not_queried_is_no_answer(metric: dict[str, str]) -> None:
    with pytest.raises(UnreadableError):
        samples_of({"metric": metric, "value": [NOW, "1"]})


# --- histograms of run times in either form ---------------------------------------------------------------

Pairs = dict[tuple[str, ...], str]

CLASSIC: Pairs = {key: value for key, value in SERIES.items() if "seconds_" in key[0] and len(key) > 1}
NATIVE: Pairs = {
    ("native_sum", "outcome", "completed"): "4.5",
    ("native_sum", "outcome", "failed"): "0.5",
    ("native_count", "outcome", "completed"): "10",
    ("native_count", "outcome", "failed"): "1",
}


def durations(histograms: Pairs) -> tuple[float | None, float | None]:
    """Seconds and attempts of a queue that has these series of histograms."""
    plain = {key: value for key, value in SERIES.items() if key not in CLASSIC}
    result: list[dict[str, Any]] = [
        {"metric": {"oxherd_measure": "timestamp", "state": "active", **LABELS}, "value": [NOW, str(NOW - 3)]}
    ]
    for (name, *pair), value in {**plain, **histograms}.items():
        named = "oxherd_measure" if name.startswith("native_") else "__name__"
        result.append(
            {"metric": {named: name, **LABELS, **dict([pair] if pair else [])}, "value": [NOW, value]}
        )
    sample = samples_of(*result)[MAIL]
    assert isinstance(sample, QueueSample)
    assert (sample.waiting, sample.completed) == (WHOLE.waiting, WHOLE.completed)
    return sample.duration_sum, sample.duration_count


def only(pairs: Pairs, *parts: str) -> Pairs:
    return {key: value for key, value in pairs.items() if any(part in " ".join(key) for part in parts)}


@pytest.mark.parametrize(
    ("histograms", "expected"),
    [
        (CLASSIC, (5, 11)),
        (NATIVE, (5, 11)),
        (CLASSIC | NATIVE, (5, 11)),
        (only(NATIVE, "completed"), (4.5, 10)),
        (only(CLASSIC, "completed") | NATIVE, (4.5, 10)),
        (only(CLASSIC, "count") | NATIVE, (5, 11)),
        (only(CLASSIC, "sum") | NATIVE, (5, 11)),
        (only(CLASSIC, "count"), (None, 11)),
        (only(NATIVE, "count"), (None, 11)),
        ({}, (None, None)),
    ],
    ids=[
        *("classic", "native", "both once", "one outcome", "classic counts where both are there"),
        *("no classic sum", "no classic count", "no sum", "no native sum", "none"),
    ],
)
def test_run_times_are_known_by_either_form_and_counted_once(
    histograms: Pairs, expected: tuple[float | None, float | None]
) -> None:
    assert durations(histograms) == expected


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "x"])
def test_seconds_of_native_histograms_that_are_no_number_make_the_queue_missing(value: str) -> None:
    series = LABELS | {"oxherd_measure": "native_sum", "outcome": "completed"}
    counts: list[dict[str, Any]] = [
        {"metric": {"__name__": "bullmq_job_count", "state": state, **LABELS}, "value": [NOW, "1"]}
        for state in ("waiting", "prioritized", "active")
    ]
    timed = {"metric": {"oxherd_measure": "timestamp", **LABELS}, "value": [NOW, str(NOW)]}
    sample = samples_of(*counts, timed, {"metric": series, "value": [NOW, value]})[MAIL]
    assert isinstance(sample, Missing)
    assert sample.kind == "invalid"


def test_a_whole_native_histogram_was_not_queried() -> None:
    metric = {"__name__": "bullmq_job_processing_seconds", "outcome": "completed", **LABELS}
    with pytest.raises(UnreadableError, match="native histogram"):
        samples_of({"metric": metric, "histogram": [NOW, {"count": "1", "sum": "2"}]})


@pytest.mark.parametrize("there", [True, False])
def test_whether_there_are_native_histograms_is_no_series_of_a_queue(*, there: bool) -> None:
    count = {"metric": {"oxherd_measure": "native_series"}, "value": [NOW, "7"]}
    other = {"metric": {"oxherd_measure": "up"}, "value": [NOW, "1"]}
    assert without_native_series([other, *([count] if there else []), "x", {}]) == ([other, "x", {}], there)


# --- the text -----------------------------------------------------------------------------------------------


def test_every_selector_has_the_queues_and_the_matchers() -> None:
    text = exporter_query("queue", {"env": 'a"b', "cluster": "eu"}, ["b.c", "a"])
    selector = 'queue=~"a|b\\\\.c",cluster="eu",env="a\\"b"'
    assert text.count(selector) == 2
    assert text.count('{cluster="eu",env="a\\"b"}') == 6
    assert exporter_query("name", {}, ()).count('name!=""') == 2
    native = exporter_query("queue", {"env": 'a"b', "cluster": "eu"}, ["b.c", "a"], native=True)
    assert (native.count(selector), native.count('{cluster="eu",env="a\\"b"}')) == (4, 5)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("statuses", [True, False])
def test_only_the_last_operand_has_series_that_differ_in_their_names_alone(
    *, statuses: bool, native: bool
) -> None:
    """VictoriaMetrics keeps one of them in any other, and where no label of `on (...)` tells them apart."""
    query = exporter_query("queue", {}, ["mail"], statuses=statuses, native=native)
    *others, last = query.split("\nor ")
    assert last.startswith('{__name__=~"')
    measures = [text.rsplit('"', 6)[1] for text in others]
    histograms = ["native_sum", "native_count"] if native else ["native_series"] if statuses else []
    reported = ["up", "deployment", "shard", "started"] if statuses else []
    assert measures == [*reported, "timestamp", *histograms]
    assert all(text.startswith("label_replace(") for text in others)


def test_functions_of_native_histograms_are_asked_only_where_there_are_such() -> None:
    """VictoriaMetrics and Prometheus before 2.40 do not know them."""
    assert not re.search(r"histogram_\w+\(", exporter_query("queue", {}, ["mail"]))
    assert len(re.findall(r"histogram_\w+\(", exporter_query("queue", {}, ["mail"], native=True))) == 2


def test_a_short_query_has_no_pieces() -> None:
    whole, pieces = exporter_queries("queue", {}, ["mail", "video"])
    assert (whole, pieces) == (exporter_query("queue", {}, ["mail", "video"]), ())
    assert exporter_queries("queue", {}, ())[1] == ()


@given(
    st.sets(st.text("ab.|\\\"'\u20ac", min_size=40, max_size=90), min_size=1, max_size=400),
    st.dictionaries(st.just("env"), st.text(max_size=30)),
    st.booleans(),
)
def test_the_pieces_have_each_queue_once_and_are_short(
    names: set[str],
    matchers: dict[str, str],
    native: bool,  # noqa: FBT001  # hypothesis gives it
) -> None:
    whole, pieces = exporter_queries("queue", matchers, names, native=native)
    assert bool(pieces) == (len(whole.encode()) > MAX_TEXT_BYTES)
    assert all(len(piece.encode()) <= MAX_TEXT_BYTES for piece in pieces)
    found = [name for piece in pieces or (whole,) for name in names_in(piece)]
    assert sorted(found) == sorted(names)
    assert ["bullmq_up" in piece for piece in pieces] == [n == 0 for n in range(len(pieces))]


def names_in(text: str) -> list[str]:
    """The names of the first selector, as RE2 and PromQL read them."""
    literal = re.search(r'queue=~"((?:[^"\\]|\\.)*)"', text)
    assert literal is not None
    pattern = re.sub(r"\\(.)", r"\1", literal[1])
    parts = re.findall(r"((?:[^|\\]|\\.)+)", pattern)
    return [re.sub(r"\\(.)", r"\1", part) for part in parts]
