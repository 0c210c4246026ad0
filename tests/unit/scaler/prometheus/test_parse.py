"""Answers of Prometheus, from the usual one to garbage, which never becomes a number."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.config.prometheus import PrometheusSettings, QuerySettings
from scaler.model import Missing, QueueSample
from scaler.prometheus.numbers import finite_number
from scaler.prometheus.parse import QueryError, Reading, matrix, read_answer
from scaler.prometheus.promql import DEFAULT_QUERIES, QueueKey
from service.outcome import UnreadableError

Json = dict[str, Any]

NOW = 1_000_000.0  # Prometheus's clock
QUERIED = 2_000_000.0  # ours, which is far ahead
MAIL = QueueKey("bull", "mail")
FIGURES = {"waiting": "3", "active": "2", "completed": "10", "failed": "1", "added": "16", "due": "0"}
FIGURES |= {"busy_seconds": "5.5"}
A = {"job": "oxherd", "instance": "a:9877"}
B = {"job": "oxherd", "instance": "b:9877"}
REPLICAS = PrometheusSettings().replica_labels


def series(measure: str, value: str, labels: Mapping[str, str] = A, *, queue: str = "mail") -> Json:
    metric = {"oxherd_measure": measure, "prefix": "bull", "queue": queue, **labels}
    return {"metric": metric, "value": [NOW, value]}


def series_of(labels: Mapping[str, str] = A, *, age: float = 3.0, **figures: str | None) -> list[Json]:
    """One exporter's series of the queue `mail`; a figure that is None is not among them."""
    values = {**FIGURES, "timestamp": str(NOW - age), **figures}
    return [series(measure, value, labels) for measure, value in values.items() if value is not None]


def up(value: str = "1") -> Json:
    return {"metric": {"oxherd_measure": "up", "__name__": "bullmq_up", **A}, "value": [NOW, value]}


def started(value: str, labels: Mapping[str, str] = A) -> Json:
    metric = {"oxherd_measure": "started", "__name__": "process_start_time_seconds", **labels}
    return {"metric": metric, "value": [NOW, value]}


def deployment(identity: str, labels: Mapping[str, str] = A) -> Json:
    metric = {"oxherd_measure": "deployment", "redis_deployment": identity, **labels}
    return {"metric": metric, "value": [NOW, "1"]}


def answer(*result: Json, **more: Any) -> Json:
    return {"status": "success", "data": {"resultType": "vector", "result": list(result)}, **more}


def read(*result: Json, queries: QuerySettings = DEFAULT_QUERIES, **more: Any) -> Reading:
    return read_answer(answer(*result), queries, queried_at=QUERIED, replica_labels=REPLICAS, **more)


def mail(*result: Json, **more: Any) -> QueueSample | Missing:
    return read(*result, **more).of(MAIL)


def kind(sample: QueueSample | Missing) -> str:
    return sample.kind if isinstance(sample, Missing) else "sample"


def test_a_sample_has_the_values_of_the_series_and_the_time_of_its_scrape() -> None:
    assert mail(*series_of(), up()) == QueueSample(
        at=QUERIED - 3, waiting=3, active=2, completed=10, failed=1, added=16, due=0, busy_seconds=5.5
    )


def test_a_measure_without_a_series_is_none() -> None:
    sample = mail(*series_of(completed=None, failed=None, added=None, due=None, busy_seconds=None))
    assert sample == QueueSample(at=QUERIED - 3, waiting=3, active=2)


def test_queues_are_distinguished_by_prefix_and_name() -> None:
    others = [copy.deepcopy(entry) for entry in series_of(waiting="7")]
    for entry in others:
        entry["metric"]["prefix"] = "jobs"
    reading = read(*series_of(), *others)
    assert list(reading.samples) == [MAIL, ("jobs", "mail")]
    sample = reading.of(QueueKey("jobs", "mail"))
    assert isinstance(sample, QueueSample)
    assert sample.waiting == 7


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ((), "is the exporter up"),
        ((up("0"),), "could not read all queues"),
        ((up("1"),), "does not know this queue"),
        ((up("1"), up("0")), "could not read all queues"),
    ],
)
def test_a_queue_without_series_is_missing_and_says_why(result: tuple[Json, ...], why: str) -> None:
    sample = mail(*result)
    assert isinstance(sample, Missing)
    assert (sample.kind, sample.message[:10]) == ("empty", "bull:mail:")
    assert why in sample.message


@pytest.mark.parametrize("measure", ["waiting", "active", "timestamp"])
def test_without_a_required_measure_a_sample_is_missing(measure: str) -> None:
    sample = mail(*(entry for entry in series_of() if entry["metric"]["oxherd_measure"] != measure))
    assert isinstance(sample, Missing)
    assert sample.kind == "empty"
    assert measure in sample.message


@pytest.mark.parametrize("measure", ["waiting", "active", "timestamp", "completed", "due"])
@pytest.mark.parametrize(
    "value",
    [
        "NaN",
        "+Inf",
        "-Inf",
        "-1",
        "",
        "x",
        "1_0",
        " 1",
        "1 ",
        "0x10",
        "\u0661",
        None,
        3,
        3.0,
        True,
        [],
        "1e999",
    ],
)
def test_an_invalid_number_of_jobs_makes_the_queue_missing(measure: str, value: Any) -> None:
    result = series_of()
    for entry in result:
        if entry["metric"]["oxherd_measure"] == measure:
            entry["value"][1] = value
    reading = read(*result, *(series(m, v, queue="video") for m, v in {**FIGURES, "timestamp": "5"}.items()))
    assert kind(reading.of(MAIL)) == "invalid"
    assert kind(reading.of(QueueKey("bull", "video"))) == "sample"


@pytest.mark.parametrize("value", [str(NOW * 1000), str(NOW + 61)])
def test_a_timestamp_of_the_future_is_none(value: str) -> None:
    sample = mail(*series_of(timestamp=value))
    assert kind(sample) == "invalid"


def test_a_timestamp_may_be_a_little_ahead() -> None:
    sample = mail(*series_of(age=-0.5))
    assert isinstance(sample, QueueSample)
    assert sample.at == QUERIED + 0.5


@pytest.mark.parametrize(
    ("ours", "before", "ahead"),
    [
        (NOW - 0.01, 0.0, 0.0),
        (NOW + 0.9, 0.0, 0.0),
        (NOW - 30, 0.0, -30.0),
        (NOW - 30.5, -30.0, -30.0),
        (NOW, -30.0, 0.0),
    ],
)
def test_a_scrape_has_one_time_by_our_clock_whenever_it_is_read(
    ours: float, before: float, ahead: float
) -> None:
    former = Reading({}, ahead=before)
    reading = read_answer(answer(*series_of(age=3.0)), queried_at=ours, before=former)
    sample = reading.of(MAIL)
    assert isinstance(sample, QueueSample)
    assert (reading.ahead, sample.at) == (ahead, NOW - 3 + ahead)


@pytest.mark.parametrize(
    ("sent", "answered", "before", "ahead"),
    [
        (NOW - 4, NOW + 0.1, 0.0, 0.0),
        (NOW - 4, NOW - 3, 0.0, -4.0),
        (NOW - 34, NOW - 29, -30.0, -30.0),
        (NOW + 26, NOW + 30, 30.0, 30.0),
        (NOW + 40, NOW + 44, 30.0, 40.0),
    ],
    ids=["slow", "slow, another clock", "clock behind", "clock ahead", "clock set"],
)
def test_a_scrape_has_the_same_time_where_the_query_is_evaluated_late(
    sent: float, answered: float, before: float, ahead: float
) -> None:
    former = Reading({}, ahead=before)
    document = answer(*series_of(age=3.0))
    reading = read_answer(document, queried_at=sent, answered_at=answered, before=former)
    assert reading.ahead == ahead


def test_an_empty_answer_keeps_the_clock_offset() -> None:
    assert read_answer(answer(), queried_at=QUERIED, before=Reading({}, ahead=5.0)).ahead == 5.0


@pytest.mark.parametrize(("text", "value"), [("3", 3.0), ("1e+06", 1e6), ("0.25", 0.25), ("-2", -2.0)])
def test_numbers_as_prometheus_writes_them(text: str, value: float) -> None:
    assert finite_number(text) == value


# --- whole answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], "invalid"),
        (None, "invalid"),
        ("success", "invalid"),
        ({}, "invalid"),
        ({"status": "success"}, "invalid"),
        ({"status": "success", "data": []}, "invalid"),
        ({"status": "success", "data": {"resultType": "vector"}}, "invalid"),
        ({"status": "success", "data": {"resultType": "vector", "result": {}}}, "invalid"),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, "invalid"),
        ({"status": "success", "data": {"resultType": "scalar", "result": [NOW, "1"]}}, "invalid"),
        ({"status": "success", "data": {"resultType": "string", "result": [NOW, "x"]}}, "invalid"),
        ({"status": "error", "errorType": "timeout", "error": "query timed out"}, "timeout"),
        ({"status": "error", "errorType": "internal", "error": "x"}, "error"),
        ({"status": "error"}, "error"),
        (answer(*series_of(), warnings=["partial response"]), "error"),
        (answer(*series_of(), warnings="odd"), "error"),
        (answer(*series_of(), isPartial=True), "error"),
        (answer({"metric": {}, "value": [NOW, "1"]}), "invalid"),
        (answer({"metric": {"oxherd_measure": "other", **A}, "value": [NOW, "1"]}), "invalid"),
        (answer({"metric": {"oxherd_measure": "waiting", **A}, "value": [NOW, "1"]}), "invalid"),
        (answer({"metric": {"oxherd_measure": "waiting", "queue": 7}, "value": [NOW, "1"]}), "invalid"),
        (answer({"metric": {"oxherd_measure": "waiting", "queue": []}, "value": [NOW, "1"]}), "invalid"),
        (
            answer({"metric": {"oxherd_measure": "waiting", "queue": "q", "x": 1}, "value": [NOW, "1"]}),
            "invalid",
        ),
        (answer({**series("waiting", "1"), "value": [NOW]}), "invalid"),
        (answer(*series_of(), {**series("waiting", "1"), "value": [5, "1"]}), "invalid"),
        (answer({**series("waiting", "1"), "value": ["1", "1"]}), "invalid"),
        (answer({**series("waiting", "1"), "value": [True, "1"]}), "invalid"),
        (answer({**series("waiting", "1"), "value": "12"}), "invalid"),
        (answer({"metric": series("waiting", "1")["metric"], "histogram": [NOW, {}]}), "invalid"),
        (answer({"metric": series("waiting", "1")["metric"], "values": [[NOW, "1"]]}), "invalid"),
    ],
)
def test_an_invalid_answer_to_the_query(document: Any, expected: str) -> None:
    with pytest.raises(UnreadableError) as error:
        read_answer(document, queried_at=QUERIED)
    assert error.value.kind == expected


def test_an_info_annotation_is_not_a_warning() -> None:
    document = answer(*series_of(), infos=["x"], warnings=[], isPartial=False)
    sample = read_answer(document, queried_at=QUERIED).of(MAIL)
    assert kind(sample) == "sample"


def test_a_rejected_query_is_an_error_of_its_own() -> None:
    with pytest.raises(QueryError, match="parse error"):
        read_answer(
            {"status": "error", "errorType": "bad_data", "error": "1:1: parse error"}, queried_at=QUERIED
        )


def test_an_error_of_prometheus_is_one_short_line() -> None:
    with pytest.raises(UnreadableError) as error:
        read_answer({"status": "error", "error": "a\nb" * 1000}, queried_at=QUERIED)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


# --- several exporters --------------------------------------------------------------------------------------


def test_of_two_exporters_of_a_redis_the_one_scraped_last_counts_and_none_is_added() -> None:
    reading = read(*series_of(A, age=4.0, waiting="30"), *series_of(B, age=1.0, waiting="31", completed="2"))
    sample = reading.of(MAIL)
    assert isinstance(sample, QueueSample)
    assert (sample.waiting, sample.completed, sample.at) == (31, 2, QUERIED - 1)


def test_the_exporter_used_before_stays_even_if_the_other_is_fresher() -> None:
    before = read(*series_of(A))
    for age in (4.0, 50.0):
        sample = mail(*series_of(A, age=age), *series_of(B, age=1.0, completed="2"), before=before)
        assert isinstance(sample, QueueSample)
        assert (sample.at, sample.completed) == (QUERIED - age, 10)


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "a minute behind"])
def test_the_counters_of_another_exporter_have_another_source(gone: bool) -> None:  # noqa: FBT001
    before = read(*series_of(A), started("5", A))
    stale = [] if gone else series_of(A, age=62.0)
    reading = read(*stale, *series_of(B, age=1.0), started("5", A), started("5", B), before=before)
    sample = reading.of(MAIL)
    assert isinstance(sample, QueueSample)
    assert sample.at == QUERIED - 1
    assert reading.source(MAIL) != before.source(MAIL)


def test_the_counters_of_an_exporter_that_restarted_have_another_source() -> None:
    before, after = (read(*series_of(A), up(), started(time)) for time in ("5", "6"))
    assert read(*series_of(A), up(), started("5")).source(MAIL) == before.source(MAIL)
    assert after.source(MAIL) != before.source(MAIL)


@pytest.mark.parametrize("label", ["job", "cluster", "namespace"])
def test_two_deployments_with_a_queue_of_the_same_name_are_a_duplicate(label: str) -> None:
    sample = mail(*series_of({**A, label: "one"}), *series_of({**B, label: "two"}))
    assert isinstance(sample, Missing)
    assert sample.kind == "duplicate"
    assert f'{label}="one"' in sample.message
    assert f'{label}="two"' in sample.message


def test_a_deployment_that_was_renamed_a_minute_ago_is_forgotten() -> None:
    sample = mail(*series_of({**A, "job": "old"}, age=70.0, waiting="9"), *series_of(A, age=1.0))
    assert isinstance(sample, QueueSample)
    assert sample.waiting == 3


def test_two_deployments_in_one_job_are_a_duplicate_that_names_both() -> None:
    result = (*series_of(A), *series_of(B), deployment("east", A), deployment("west", B))
    sample = mail(*result)
    assert isinstance(sample, Missing)
    assert sample.kind == "duplicate"
    assert (
        'deployment "east" (instance="a:9877") and of deployment "west" (instance="b:9877")' in sample.message
    )


def test_two_exporters_of_one_deployment_are_one() -> None:
    assert kind(mail(*series_of(A), *series_of(B), deployment("x", A), deployment("x", B))) == "sample"


def test_an_exporter_that_has_no_identity_yet_is_no_other_deployment() -> None:
    assert kind(mail(*series_of(A), *series_of(B), deployment("x", A))) == "sample"


def test_an_identity_whose_label_was_dropped_is_not_known() -> None:
    dropped = {"metric": {"oxherd_measure": "deployment", **B}, "value": [NOW, "1"]}
    assert kind(mail(*series_of(A), *series_of(B), deployment("x", A), dropped)) == "sample"


def test_identities_may_differ_for_less_than_a_minute_while_a_redis_restarts() -> None:
    reading = read(*series_of(A), *series_of(B), deployment("old", A), deployment("old", B))
    kinds = []
    for seconds in (0.0, 30.0, 50.0):
        series = *series_of(A), *series_of(B), deployment("old", A), deployment("new", B)
        reading = read_answer(
            answer(*series), queried_at=QUERIED + seconds, replica_labels=REPLICAS, before=reading
        )
        kinds.append(kind(reading.of(MAIL)))
    assert kinds == ["sample", "sample", "duplicate"]


def test_the_same_series_twice_is_not_a_number() -> None:
    sample = mail(*series_of(), series("waiting", "4"))
    assert kind(sample) == "duplicate"


# --- other exporters ----------------------------------------------------------------------------------------


def test_other_labels_name_queue_and_prefix() -> None:
    queries = QuerySettings(
        waiting="w", active="a", queue_label="name", prefix_label=None, default_prefix="jobs"
    )
    result = [
        {"metric": {"oxherd_measure": measure, "name": "mail"}, "value": [NOW, value]}
        for measure, value in {"waiting": "3", "active": "0", "timestamp": str(NOW)}.items()
    ]
    sample = read(*result, queries=queries).of(QueueKey("jobs", "mail"))
    assert sample == QueueSample(at=QUERIED, waiting=3, active=0)


# --- ranges -------------------------------------------------------------------------------------------------


def test_a_range_is_its_finite_points() -> None:
    values = [[1, "1"], [2.5, "NaN"], [3, "+Inf"], [4, "2e3"]]
    document = {
        "status": "success",
        "data": {"resultType": "matrix", "result": [{"metric": A, "values": values}]},
    }
    assert matrix(document) == {frozenset(A.items()): [(1.0, 1.0), (4.0, 2000.0)]}


@pytest.mark.parametrize(
    "result",
    [
        None,
        [1],
        [{"metric": {}}],
        [{"metric": {}, "values": [[1]]}],
        [{"metric": {}, "values": [["x", "y"]]}],
        [{"metric": {}, "values": [["NaN", "1"]]}],
    ],
)
def test_an_invalid_range(result: Any) -> None:
    with pytest.raises(UnreadableError):
        matrix({"status": "success", "data": {"resultType": "matrix", "result": result}})


# --- garbage ------------------------------------------------------------------------------------------------

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = st.recursive(
    LEAVES,
    lambda deeper: st.lists(deeper, max_size=4) | st.dictionaries(st.text(max_size=8), deeper, max_size=4),
)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON document, from the top to its leaves."""
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


GOOD = answer(*series_of(A), up())
PLACES = places(GOOD)[1:]


@given(place=st.sampled_from(PLACES), rubbish=ANYTHING)
def test_an_answer_with_garbage_in_one_place_has_no_wrong_numbers(
    place: tuple[Any, ...], rubbish: Any
) -> None:
    document = copy.deepcopy(GOOD)
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = rubbish
    try:
        reading = read_answer(document, queried_at=QUERIED, replica_labels=REPLICAS)
    except UnreadableError:
        return
    values = [entry["value"][1] for entry in document["data"]["result"]]
    numbers = {finite_number(text) for text in values if isinstance(text, str) and is_number(text)}
    for sample in reading.samples.values():
        if isinstance(sample, QueueSample):
            figures = [value for name, value in sample._asdict().items() if name != "at"]
            assert {figure for figure in figures if figure is not None} <= numbers
            assert sample.at <= QUERIED + 60


def is_number(text: str) -> bool:
    try:
        return finite_number(text) >= 0
    except ValueError:
        return False


@given(ANYTHING)
def test_garbage_is_never_a_sample(document: Any) -> None:
    with pytest.raises(UnreadableError):
        read_answer(document, queried_at=QUERIED)
    with pytest.raises(UnreadableError):
        matrix(document)


@given(st.lists(ANYTHING, min_size=1, max_size=3))
def test_garbage_among_the_series_is_never_a_sample(result: list[Any]) -> None:
    with pytest.raises(UnreadableError):
        read_answer(answer(*series_of(), *result), queried_at=QUERIED)
