"""The query for the exporter's own series beside that whose sums Prometheus makes, on one recorded world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import pytest

from lab.prometheus import Prometheus, start_prometheus
from scaler.config.prometheus import PrometheusSettings
from scaler.model import Missing, QueueSample
from scaler.prometheus.exporter_series import exporter_queries
from scaler.prometheus.parse import Reading, read_answer
from scaler.prometheus.promql import DEFAULT_QUERIES, QueueKey, query_text
from service.clock import now
from tests.support.exposition import exposing

pytestmark = pytest.mark.timeout(120)  # 20 s alone, of scrapes

SECONDS: Final = 16.0
QUEUES: Final = ("mail", "video.hd", "a|b", "say (hi)", "caf\u00e9", *(f"q-{n}" for n in range(36)))
NAMES: Final = (*QUEUES, *(f"not-there-{n}" for n in range(1000)))
REPLICAS: Final = PrometheusSettings().replica_labels
FIGURES: Final = (
    *("bullmq_job_completed_total", "bullmq_job_failed_total", "bullmq_job_added_total"),
    *("bullmq_queue_oldest_waiting_seconds", "bullmq_queue_delayed_due", "bullmq_queue_paused"),
    *("bullmq_queue_busy_seconds_total", "bullmq_queue_rate_limit_ttl_seconds"),
    *("bullmq_queue_concurrency_limit", "bullmq_job_stalled_total"),
)
SUMS: Final = ("bullmq_job_processing_seconds_sum", "bullmq_job_processing_seconds_count")


@dataclass
class Changing:
    """An exporter whose text is another one at each scrape: queues and series come and go, numbers are none,
    some have a timestamp of their own, and at times it does not answer at all."""

    random: Random
    scrapes: int = 0

    def __call__(self) -> str | None:
        self.scrapes += 1
        if self.scrapes % 7 == 5 or self.random.random() < 0.05:
            return None
        lines = [f"process_start_time_seconds {self.random.choice((5, 6))}"]
        if self.random.random() < 0.9:
            lines.append(f"bullmq_up {self.random.choice((1, 1, 0))}")
        if self.random.random() < 0.9:
            identity = self.random.choice(("x", "x", "y"))
            lines.append(f'oxherd_redis_deployment_info{{redis_deployment="{identity}"}} 1')
        for queue in QUEUES:
            if self.random.random() < 0.9:
                lines += self._queue(f'prefix="bull",queue="{queue}"')
        return "\n".join(lines) + "\n"

    def _queue(self, labels: str) -> Iterator[str]:
        stamp = f" {(now() - self.random.choice((2, 100))) * 1000:.0f}" if self.random.random() < 0.05 else ""
        for state in ("waiting", "prioritized", "active", "delayed", "completed"):
            yield from self._series(f'bullmq_job_count{{{labels},state="{state}"}}', stamp, often=0.98)
        for name in FIGURES:
            yield from self._series(f"{name}{{{labels}}}", stamp, often=0.8)
        for outcome in ("completed", "failed"):
            for name in SUMS:
                yield from self._series(f'{name}{{{labels},outcome="{outcome}"}}', stamp, often=0.7)

    def _series(self, series: str, stamp: str, *, often: float) -> Iterator[str]:
        if self.random.random() > often:
            return
        value: object = self.random.choice((0, 1, self.random.randrange(500), self.random.random() * 1e6))
        if self.random.random() < 0.02:
            value = self.random.choice(("NaN", "+Inf", "-1", "1e300"))
        yield f"{series} {value}{stamp}"


@pytest.fixture(scope="module")
def recorded() -> Iterator[tuple[Prometheus, float]]:
    """A Prometheus that has scraped three changing exporters, two of them replicas; and when it began."""
    exporters = [Changing(Random(seed)) for seed in range(3)]
    with (
        exposing(exporters[0]) as a,
        exposing(exporters[1]) as b,
        exposing(exporters[2]) as c,
        start_prometheus(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n"
            f"  - job_name: oxherd\n    static_configs: [{{targets: ['{a}', '{b}']}}]\n"
            f"  - job_name: other\n    static_configs: [{{targets: ['{c}'], labels: {{env: test}}}}]\n"
        ) as prometheus,
    ):
        began = now()
        prometheus.wait_for(f"vector(time()) > {began + SECONDS}", seconds=60)
        assert all(exporter.scrapes > 5 for exporter in exporters)
        yield prometheus, began


def reading_of(
    prometheus: Prometheus, text: str, time: float, before: Reading | None, queried_at: float | None = None
) -> Reading:
    parameters = {"query": text, "time": f"{time:.3f}"}
    document = {"status": "success", "data": prometheus.get("query", **parameters)}
    return read_answer(document, queried_at=queried_at or time, replica_labels=REPLICAS, before=before)


def rounded(sample: QueueSample | Missing) -> object:
    """Prometheus adds with another rounding; and of several figures that are none, either names one."""
    if isinstance(sample, Missing):
        return sample.kind if sample.kind == "invalid" else sample
    values = {name: getattr(sample, name) for name in QueueSample._fields}
    return {name: None if value is None else float(f"{value:.12g}") for name, value in values.items()}


@pytest.mark.parametrize("matchers", [{"job": "oxherd"}, {"env": "test"}, {}], ids=["pair", "one", "all"])
@pytest.mark.parametrize("names", [(), NAMES], ids=["all queues", "many names"])
def test_both_queries_have_the_same_figures_at_any_time(
    recorded: tuple[Prometheus, float], names: tuple[str, ...], matchers: dict[str, str]
) -> None:
    prometheus, began = recorded
    summed = query_text(DEFAULT_QUERIES, matchers, names)
    plain, _ = exporter_queries("queue", matchers, names)
    before: tuple[Reading | None, Reading | None] = (None, None)
    kinds: set[str] = set()
    for half in range(int(2 * SECONDS)):
        time = began + half / 2
        expected, reading = (
            reading_of(prometheus, text, time, former)
            for text, former in zip((summed, plain), before, strict=True)
        )
        before = expected, reading
        assert reading.exporters == expected.exporters
        assert (reading.origins, reading.disputed, reading.up) == (
            expected.origins,
            expected.disputed,
            expected.up,
        )
        assert {key: rounded(sample) for key, sample in reading.samples.items()} == {
            key: rounded(sample) for key, sample in expected.samples.items()
        }
        kinds |= {s.kind if isinstance(s, Missing) else "sample" for s in reading.samples.values()}
    assert kinds >= ({"sample", "invalid"} if matchers else {"duplicate"})


def test_pieces_have_the_same_figures_as_the_whole(recorded: tuple[Prometheus, float]) -> None:
    prometheus, began = recorded
    whole, pieces = exporter_queries("queue", {}, NAMES)
    assert len(pieces) > 1
    expected = reading_of(prometheus, whole, began + 8, None)
    series: list[Any] = []
    for piece in pieces:
        series += prometheus.get("query", query=piece, time=f"{began + 8:.3f}")["result"]
    document = {"status": "success", "data": {"resultType": "vector", "result": series}}
    reading = read_answer(document, queried_at=began + 8, replica_labels=REPLICAS)
    assert reading == expected
    assert reading.samples


@pytest.mark.parametrize("queue", QUEUES[:5])
def test_a_name_is_taken_literally(recorded: tuple[Prometheus, float], queue: str) -> None:
    prometheus, began = recorded
    whole, _ = exporter_queries("queue", {}, [queue])
    times = (began + second for second in range(int(SECONDS)))
    found = {key for time in times for key in reading_of(prometheus, whole, time, None).samples}
    assert found == {QueueKey("bull", queue)}
