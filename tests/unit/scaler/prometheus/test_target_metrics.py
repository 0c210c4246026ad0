from __future__ import annotations

import pytest

from scaler.model import Missing, QueueSample
from scaler.prometheus.observer import Observer, QueryResult
from scaler.prometheus.parse import Reading
from scaler.prometheus.promql import QueueKey
from scaler.prometheus.target_metrics import PrometheusMetrics
from scaler.settings import Settings, load_settings
from service.clock import Deadline

TEXT = """
queries: {waiting: 'a{{selector}}', active: 'b{{selector}}'}
targets:
  - {name: one, queues: [mail, post], processes: {command: [x]}}
  - {name: two, queues: ["mail-*"], processes: {command: [x]}, queries: {}}
  - {name: none, queues: ["video-*"], processes: {command: [x]}, queries: {}}
"""


def seen(settings: Settings, monkeypatch: pytest.MonkeyPatch, *, broken: bool = False) -> dict[str, object]:
    theirs, ours = settings.queries, settings.targets[1].queries
    assert ours is not None
    readings: dict[object, Reading | Missing] = {
        theirs: Reading(
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
    wanted = {}

    def begin(self: Observer, prometheus: object, asked: object) -> None:
        wanted["asked"] = asked

    monkeypatch.setattr(Observer, "__init__", begin)
    monkeypatch.setattr(Observer, "look", lambda self, deadline: QueryResult(5.0, 0.0, "url", readings))  # type: ignore[arg-type]
    sights = PrometheusMetrics(settings).read(Deadline.after(1))
    assert wanted["asked"] == {theirs: [QueueKey("bull", "mail"), QueueKey("bull", "post")], ours: []}
    return dict(sights)


def test_each_target_is_seen_by_its_own_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    sights = seen(load_settings(TEXT, {}, file="s.yml").model, monkeypatch)
    one, two, none = (sights[name] for name in ("one", "two", "none"))
    assert (one.queues, one.sample.at, one.sample.waiting) == (("mail", "post"), 4.0, 11)  # type: ignore[attr-defined]
    assert (two.queues, two.sample.waiting) == (("mail-1",), 3)  # type: ignore[attr-defined]
    assert none.sample == Missing("empty", "no queue matches video-*")  # type: ignore[attr-defined]


def test_without_prometheus_all_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    sights = seen(load_settings(TEXT, {}, file="s.yml").model, monkeypatch, broken=True)
    assert {one.sample.kind for one in sights.values()} == {"timeout"}  # type: ignore[attr-defined]


def test_without_targets_nobody_is_asked() -> None:
    assert PrometheusMetrics(load_settings("", {}, file="s.yml").model).read(Deadline.after(1)) == {}
