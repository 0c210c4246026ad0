from __future__ import annotations

import pytest

from scaler.config.settings import ScalerSettings
from scaler.config.validation import load_scaler_settings
from scaler.model import Missing, QueueSample, RunTimeP99
from scaler.prometheus.observer import Observer, QueryResult
from scaler.prometheus.parse import Reading
from scaler.prometheus.promql import QueueKey
from scaler.prometheus.run_times import RunTimes
from scaler.prometheus.target_metrics import PrometheusMetrics
from service.clock import Deadline

TEXT = """
queries: {waiting: 'a{{selector}}', active: 'b{{selector}}'}
targets:
  - {name: one, queues: [mail, post], processes: {command: [x]}}
  - {name: two, queues: ["mail-*"], processes: {command: [x]}, queries: {}}
  - {name: none, queues: ["video-*"], processes: {command: [x]}, queries: {}}
"""


def target_metrics(
    settings: ScalerSettings, monkeypatch: pytest.MonkeyPatch, *, broken: bool = False
) -> dict[str, object]:
    custom, ours = settings.queries, settings.targets[1].queries
    assert ours is not None
    readings: dict[object, Reading | Missing] = {
        custom: Reading(
            {
                QueueKey("bull", "mail"): QueueSample(5.0, 1, 2),
                QueueKey("bull", "post"): QueueSample(4.0, 10, 20),
            }
        ),
        ours: Reading(
            {
                QueueKey("bull", "mail-1"): QueueSample(5.0, 3, 4),
                QueueKey("other", "mail-2"): QueueSample(5.0, 9, 9),
            }
        ),
    }
    if broken:
        readings = dict.fromkeys(readings, Missing("timeout", "too slow"))
    captured = {}

    def init(self: Observer, prometheus: object, queues: object) -> None:
        captured["queues"] = queues

    monkeypatch.setattr(Observer, "__init__", init)
    monkeypatch.setattr(Observer, "observe", lambda self, deadline: QueryResult(5.0, 0.0, "url", readings))  # type: ignore[arg-type]
    metrics = PrometheusMetrics(settings).read(Deadline.after(1))
    assert captured["queues"] == {custom: [QueueKey("bull", "mail"), QueueKey("bull", "post")], ours: []}
    return dict(metrics)


def test_each_target_is_read_by_its_own_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = target_metrics(load_scaler_settings(TEXT, {}, file="s.yml").model, monkeypatch)
    first, second, none = (metrics[name] for name in ("one", "two", "none"))
    assert (first.queues, first.sample.at, first.sample.waiting) == (("mail", "post"), 4.0, 11)  # type: ignore[attr-defined]
    assert (second.queues, second.sample.waiting) == (("mail-1",), 3)  # type: ignore[attr-defined]
    assert none.sample == Missing("empty", "no queue matches video-*")  # type: ignore[attr-defined]


def test_without_prometheus_all_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = target_metrics(load_scaler_settings(TEXT, {}, file="s.yml").model, monkeypatch, broken=True)
    assert {target.sample.kind for target in metrics.values()} == {"timeout"}  # type: ignore[attr-defined]


def test_without_targets_nothing_is_queried() -> None:
    assert PrometheusMetrics(load_scaler_settings("", {}, file="s.yml").model).read(Deadline.after(1)) == {}


SETTINGS = load_scaler_settings(
    "targets: [{name: t, queues: ['mail-*'], processes: {command: [x]}}]", {}, file="s.yml"
).model
KEYS = [QueueKey("bull", "mail-1"), QueueKey("bull", "mail-2")]


def answering(monkeypatch: pytest.MonkeyPatch, *readings: Reading | Missing) -> None:
    """Each observation gets the next of the readings."""
    answers = iter(readings)
    monkeypatch.setattr(
        Observer,
        "observe",
        lambda self, deadline: QueryResult(5.0, 0.0, "url", {SETTINGS.queries: next(answers)}),
    )


def test_a_queue_that_is_absent_is_unknown_beside_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (QueueSample(5.0, waiting, 2, completed=7.0, failed=0.0) for waiting in (1, 30))
    both = Reading(dict(zip(KEYS, (one, two), strict=True)))
    answering(monkeypatch, both, Reading({KEYS[0]: one}), Missing("timeout", "too slow"), both)
    metrics = PrometheusMetrics(SETTINGS)
    results = [metrics.read(Deadline.after(1))["t"] for _ in range(4)]
    assert [getattr(result.sample, "waiting", None) for result in results] == [31, 1, None, 31]
    unknown = [result.unknown for result in results]
    assert unknown[0] is unknown[2] is unknown[3] is None
    assert unknown[1] is not None
    assert unknown[1].message.startswith("bull:mail-2: ")


def test_run_times_are_asked_of_the_exporters_queues_of_the_named_targets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = load_scaler_settings(TEXT, {}, file="s.yml").model
    asked: list[set[QueueKey]] = []
    monkeypatch.setattr(RunTimes, "ask", lambda self, keys: asked.append(keys))
    monkeypatch.setattr(RunTimes, "longest", lambda self, keys: RunTimeP99(min(keys).name, 57.0))
    samples = {QueueKey("bull", name): QueueSample(5.0, 1, 2) for name in ("mail", "post", "mail-1")}
    readings = {queries: Reading(samples) for queries in (settings.queries, settings.targets[1].queries)}
    result = QueryResult(5.0, 0.0, "url", readings)  # type: ignore[arg-type]
    monkeypatch.setattr(Observer, "observe", lambda self, deadline: result)
    metrics = PrometheusMetrics(settings)
    metrics.ask_run_times({"two"})
    known = metrics.read(Deadline.after(1))
    for names in ({"two", "none"}, {"one"}, {"one", "two"}):
        metrics.ask_run_times(names)
    two = {QueueKey("bull", "mail-1")}
    assert asked == [set(), two, set(), two]
    assert known["two"].run_p99 == RunTimeP99("mail-1", 57.0)
    assert known["none"].run_p99 is None


def test_what_is_known_of_a_target_outlives_a_change_of_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = (QueueSample(5.0, 1, 2, completed=completed, failed=0.0) for completed in (7.0, 9.0))
    both = Reading(dict(zip(KEYS, (one, two), strict=True)))
    answering(monkeypatch, both, Reading({KEYS[0]: one}))
    first = PrometheusMetrics(SETTINGS)
    before = first.read(Deadline.after(1))["t"].sample
    after = PrometheusMetrics(SETTINGS).continuing(first).read(Deadline.after(1))["t"]
    assert after.unknown is not None
    assert isinstance(before, QueueSample)
    assert isinstance(after.sample, QueueSample)
    assert after.sample.completed == before.completed == 16.0
