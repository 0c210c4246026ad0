from __future__ import annotations

import pytest

from scaler.config.settings import ScalerSettings
from scaler.config.validation import load_scaler_settings
from scaler.model import Missing, QueueSample
from scaler.prometheus.observer import Observer, QueryResult
from scaler.prometheus.parse import Reading
from scaler.prometheus.promql import QueueKey
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


@pytest.mark.parametrize(("ended", "continues"), [(500_000.0, False), (20.0, True)], ids=["back", "new"])
def test_a_queue_of_a_pattern_that_comes_back_is_no_burst(
    monkeypatch: pytest.MonkeyPatch, *, ended: float, continues: bool
) -> None:
    settings = load_scaler_settings(
        "targets: [{name: t, queues: ['mail-*'], processes: {command: [x]}}]", {}, file="s.yml"
    ).model
    one = {QueueKey("bull", "mail-1"): QueueSample(5.0, 1, 2, completed=7.0, failed=0.0)}
    both = one | {QueueKey("bull", "mail-2"): QueueSample(5.0, 1, 2, completed=ended, failed=0.0)}
    answers = iter([one, both, both])
    monkeypatch.setattr(
        Observer,
        "observe",
        lambda self, deadline: QueryResult(5.0, 0.0, "url", {settings.queries: Reading(next(answers))}),
    )
    metrics = PrometheusMetrics(settings)
    samples = [metrics.read(Deadline.after(1))["t"].sample for _ in range(3)]
    assert all(isinstance(sample, QueueSample) for sample in samples)
    assert samples[1].waiting == 2  # type: ignore[union-attr]
    assert (samples[1].completed is not None) == continues  # type: ignore[union-attr]
    assert samples[2].completed == 7.0 + ended  # type: ignore[union-attr]
