"""What runs between scrapes uses of Redis, as series of prometheus_client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exporter.background.meter import BackgroundMeter

USED: Final = "oxherd_background_redis_seconds_total"
USED_LABELS: Final = ("part",)
USED_HELP: Final = (
    "Seconds of the Redis nodes' processors that this part of the exporter used between scrapes, at most: "
    "the time in which its requests were under way, and no more than a node used in all (INFO cpu)."
)
SLOWDOWN: Final = "oxherd_background_slowdown_ratio"
SLOWDOWN_HELP: Final = (
    "How many times longer than in the settings the pauses between reads in the background are; above 1 if "
    "these use more of a node than redis.background_ratio."
)


class BackgroundUse(Collector):
    def __init__(self, meter: BackgroundMeter) -> None:
        self._meter = meter

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(USED.removesuffix("_total"), USED_HELP, labels=USED_LABELS)
        for part, seconds in sorted(self._meter.seconds().items()):
            family.add_metric([part], seconds)
        yield family
        yield GaugeMetricFamily(SLOWDOWN, SLOWDOWN_HELP, value=self._meter.slowdown)
