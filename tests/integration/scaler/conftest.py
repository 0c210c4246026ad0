from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from scaler.config.prometheus import PrometheusSettings, QuerySettings
from scaler.prometheus.observer import Observer
from scaler.prometheus.promql import DEFAULT_QUERIES, QueueKey
from tests.support.observers import MAIL, ObserverOf


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
            prometheus = Observer(given, {DEFAULT_QUERIES: [MAIL]} if queues is None else queues)
            undo.callback(prometheus.close)
            return prometheus

        yield make
