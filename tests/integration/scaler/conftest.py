from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from scaler.prometheus.observer import Observer
from scaler.prometheus.promql import OURS, QueueKey
from scaler.prometheus.settings import PrometheusSettings, QuerySettings
from tests.support.observers import MAIL, ObserverOf


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
