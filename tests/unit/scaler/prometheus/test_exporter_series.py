"""The query for the exporter's own series, and the measures that are made of its answer."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Missing, QueueSample
from scaler.prometheus.exporter_series import MAX_TEXT_BYTES, exporter_queries, exporter_query
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
    assert {name for name in QueueSample.__slots__ if getattr(sample, name) != getattr(WHOLE, name)} == absent
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


# --- the text -----------------------------------------------------------------------------------------------


def test_every_selector_has_the_queues_and_the_matchers() -> None:
    text = exporter_query("queue", {"env": 'a"b', "cluster": "eu"}, ["b.c", "a"])
    selector = 'queue=~"a|b\\\\.c",cluster="eu",env="a\\"b"'
    assert text.count(selector) == 2
    assert text.count('{cluster="eu",env="a\\"b"}') == 5
    assert exporter_query("name", {}, ()).count('name!=""') == 2


@pytest.mark.parametrize("statuses", [True, False])
def test_only_the_last_operand_has_series_that_differ_in_their_names_alone(*, statuses: bool) -> None:
    """VictoriaMetrics keeps one of them in any other, and where no label of `on (...)` tells them apart."""
    *others, last = exporter_query("queue", {}, ["mail"], statuses=statuses).split("\nor ")
    assert last.startswith('{__name__=~"')
    measures = [text.rsplit('"', 6)[1] for text in others]
    assert measures == [*(["up", "deployment", "shard", "started"] if statuses else []), "timestamp"]
    assert all(text.startswith("label_replace(") for text in others)


def test_a_short_query_has_no_pieces() -> None:
    whole, pieces = exporter_queries("queue", {}, ["mail", "video"])
    assert (whole, pieces) == (exporter_query("queue", {}, ["mail", "video"]), ())
    assert exporter_queries("queue", {}, ())[1] == ()


@given(
    st.sets(st.text("ab.|\\\"'\u20ac", min_size=40, max_size=90), min_size=1, max_size=400),
    st.dictionaries(st.just("env"), st.text(max_size=30)),
)
def test_the_pieces_have_each_queue_once_and_are_short(names: set[str], matchers: dict[str, str]) -> None:
    whole, pieces = exporter_queries("queue", matchers, names)
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
