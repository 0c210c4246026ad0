"""Refused API requests as a series of prometheus_client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from service.api.auth import ApiKeyAuth

REFUSED: Final = "oxherd_api_refused_total"
LABELS: Final = ("reason",)
HELP: Final = (
    "Refused requests: without a key (missing), with a wrong one (wrong), after too many wrong "
    "ones (throttled), with the read key where something would change (read_only)."
)


class Refusals(Collector):
    def __init__(self, auth: ApiKeyAuth) -> None:
        self._auth = auth

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(REFUSED.removesuffix("_total"), HELP, labels=LABELS)
        for reason, count in self._auth.refused.items():
            family.add_metric([reason], count)
        yield family
