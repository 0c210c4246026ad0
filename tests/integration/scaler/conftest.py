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
    """`observer(url, ..., wanted={queries: queues}, **settings)`; if not told, our queue `mail`."""
    with ExitStack() as undo:

        def made(
            *urls: str,
            wanted: Mapping[QuerySettings, Iterable[QueueKey]] | None = None,
            **settings: object,
        ) -> Observer:
            given = PrometheusSettings.model_validate({"urls": urls, **settings})
            one = Observer(given, {OURS: [MAIL]} if wanted is None else wanted)
            undo.callback(one.close)
            return one

        yield made


def look(one: Observer, seconds: float = 10) -> QueryResult:
    return one.look(Deadline.after(seconds))


def mail(one: Observer, seconds: float = 10) -> QueueSample | Missing:
    return look(one, seconds).of([MAIL])[MAIL]


def missing(one: Observer, seconds: float = 10) -> Missing:
    told = mail(one, seconds)
    assert isinstance(told, Missing), told
    return told
