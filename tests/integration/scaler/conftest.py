from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from scaler.model import Missing, QueueSample
from scaler.prometheus.observer import Observer, QueryResult
from scaler.prometheus.promql import OURS, QueueKey
from scaler.prometheus.settings import PrometheusSettings, QuerySettings
from service.clock import Deadline

MAIL = QueueKey("bull", "mail")
ObserverOf = Callable[..., Observer]


@pytest.fixture
def observer() -> Iterator[ObserverOf]:
    """`observer(url, ..., queues={queries: queues}, **settings)`; by default the queue `mail`."""
    with ExitStack() as undo:

        def make(
            *urls: str,
            queues: Mapping[QuerySettings, Iterable[QueueKey]] | None = None,
            **settings: object,
        ) -> Observer:
            given = PrometheusSettings.model_validate({"urls": urls, **settings})
            prometheus = Observer(given, {OURS: [MAIL]} if queues is None else queues)
            undo.callback(prometheus.close)
            return prometheus

        yield make


def observe(observer: Observer, seconds: float = 10) -> QueryResult:
    return observer.observe(Deadline.after(seconds))


def mail(observer: Observer, seconds: float = 10) -> QueueSample | Missing:
    return observe(observer, seconds).of([MAIL])[MAIL]


def missing(observer: Observer, seconds: float = 10) -> Missing:
    sample = mail(observer, seconds)
    assert isinstance(sample, Missing), sample
    return sample
