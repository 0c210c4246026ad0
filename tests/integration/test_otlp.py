"""A real exporter pushes by OTLP: what arrives is what a scrape has, and what happens where it cannot arrive.

The receiver checks each request against the data model. `make test-prometheus` adds one that others wrote.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.collector import Collector, CollectorAnswer, Key, NativeSeries, partial_success
from lab.deadline import wait_until
from lab.redis import RedisServer
from lab.tls import make_certificates
from lab.victoria import VICTORIA, VictoriaMetrics
from tests.support import metric_families

pytestmark = pytest.mark.timeout(120)

TIMES = [1, 30, 40, 90, 700, 2500, 61_000] * 20  # ms
RECEIVERS = ["collector", *([VICTORIA] if shutil.which(VICTORIA) else [])]
SECRET = "hunter2-hunter2"
STEADY = ("bullmq_job_", "bullmq_queue_paused", "host_memory_total", "oxherd_build_info", "redis_config_")


@pytest.fixture(scope="module")
def server(redis_server: RedisServer) -> RedisServer:
    return redis_server


@pytest.fixture
def queue(server: RedisServer, request: pytest.FixtureRequest) -> str:
    """A queue of the test's own, in which nothing happened yet."""
    name = re.sub(r"\W", "-", request.node.name)
    server.cli("hset", f"bull:{name}:meta", "version", "bullmq:6.7.0")
    return name


def add_jobs(server: RedisServer, queue: str) -> None:
    """Into the stream, as if a worker had run them: an exporter takes its times from the ids."""
    now = int(time.time() * 1000)
    events = []
    for number, wait in enumerate(TIMES):
        job = {"jobId": str(number)}
        events += [
            (now, {"event": "waiting", **job}),
            (now + wait, {"event": "active", **job, "prev": "waiting"}),
            (now + 2 * wait, {"event": "completed", **job}),
        ]
    with redis.Redis(host="127.0.0.1", port=server.port) as client, client.pipeline() as pipe:
        for place, (ms, fields) in enumerate(sorted(events, key=lambda event: event[0])):
            pipe.xadd(f"bull:{queue}:events", fields, id=f"{ms}-{place}")
        pipe.execute()


@contextmanager
def exporting(
    server: RedisServer,
    endpoint: str,
    *queues: str,
    form: str = "classic",
    monitoring: bool = True,
    **otlp: Any,
) -> Iterator[str]:
    """The URL of an exporter that pushes each second."""
    settings = {
        "listen": "127.0.0.1:0",
        "redis": {"url": server.url},
        "bullmq": {"queues": queues, "histograms": form},
        "monitoring": {"enabled": monitoring},
        "otlp": {"endpoint": endpoint, "interval_seconds": 1, "timeout_seconds": 2, **otlp},
    }
    exporter = Exporter(ExporterSettings.model_validate(settings))
    exporter.start()
    try:
        yield f"http://{exporter.address}"
    finally:
        assert exporter.stop()


def scraped(url: str) -> dict[Key, float]:
    """The samples of a scrape; to Prometheus an empty label is none, and 10.0 is the bound 10."""
    return {
        (
            sample.name,
            frozenset(
                (name, re.sub(r"\.0$", "", value) if name == "le" else value)
                for name, value in sample.labels.items()
                if value
            ),
        ): sample.value
        for family in parse_text(httpx.get(f"{url}/metrics").text)
        for sample in family.samples
        if sample.name != "oxherd_exposed_samples"  # of a scrape
    }


def value(url: str, name: str, **labels: str) -> float | None:
    return scraped(url).get((name, frozenset(labels.items())))


def counted(series: dict[Key, Any], queue: str) -> bool:
    key = ("bullmq_job_completed_total", frozenset({("prefix", "bull"), ("queue", queue)}))
    return series.get(key) == len(TIMES)


def followed(url: str, queue: str) -> None:
    name = "bullmq_job_completed_total"
    wait_until(lambda: value(url, name, prefix="bull", queue=queue) == 0, what="followed", seconds=30)


# --- what arrives ----------------------------------------------------------------------------------------


@pytest.fixture(params=RECEIVERS)
def receiver(request: pytest.FixtureRequest) -> Iterator[Collector | VictoriaMetrics]:
    with VictoriaMetrics() if request.param == VICTORIA else Collector() as receiver:
        yield receiver


OF_RESOURCE = ("service_", "scope_", "deployment_", "__name__")


def arrived(receiver: Collector | VictoriaMetrics) -> dict[Key, float]:
    if isinstance(receiver, Collector):
        assert receiver.problems == []
        return {key: number for key, number in receiver.series.items() if isinstance(number, float)}
    return {
        (
            entry["metric"]["__name__"],
            frozenset(pair for pair in entry["metric"].items() if not pair[0].startswith(OF_RESOURCE)),
        ): float(entry["value"][1])
        for entry in receiver.query('{__name__=~".+"}')
    }


def test_what_arrives_is_what_a_scrape_has(
    server: RedisServer, queue: str, receiver: Collector | VictoriaMetrics
) -> None:
    endpoint = receiver.url if isinstance(receiver, Collector) else receiver.endpoint
    with exporting(server, endpoint, queue) as url:
        followed(url, queue)
        add_jobs(server, queue)
        wait_until(lambda: counted(arrived(receiver), queue), what="counters arrived", seconds=60)

        def both() -> tuple[dict[Key, float], dict[Key, float]] | None:
            if isinstance(receiver, Collector):
                receiver.forget()
                wait_until(lambda: len(receiver.received) > 1, what="pushes", seconds=20)
            pushed, seen = arrived(receiver), scraped(url)
            return (pushed, seen) if pushed.keys() >= seen.keys() else None

        found = wait_until(both, what="each series of a scrape", seconds=60)
        assert found is not None
        pushed, seen = found
    steady = {key for key in seen if key[0].startswith(STEADY)}
    assert len(steady) > 30
    assert {key: pushed[key] for key in steady} == {key: seen[key] for key in steady}
    if isinstance(receiver, Collector):  # of the other one each series that ever arrived
        gone = {key[0] for key in pushed.keys() - seen.keys()}
        assert gone <= {"oxherd_issue_affected", "oxherd_issue_subjects"}


def test_native_histograms_arrive_with_their_buckets(server: RedisServer, queue: str) -> None:
    with Collector() as collector, exporting(server, collector.url, queue, form="native") as url:
        followed(url, queue)
        add_jobs(server, queue)
        wait_until(lambda: counted(collector.series, queue), what="counters arrived", seconds=60)
        wait_until(lambda: len(collector.received) > 3, what="pushes", seconds=20)
        body = httpx.get(f"{url}/metrics", headers={"Accept": metric_families.ACCEPT}).content
        pushed = collector.series
        assert collector.problems == []
    families = {family.name: family for family in metric_families.decoded(body)}
    for name in ("bullmq_job_wait_seconds", "bullmq_job_processing_seconds"):
        (metric,) = (each for each in families[name].metric if each.label[1].value == queue)
        native = pushed[name, frozenset((pair.name, pair.value) for pair in metric.label)]
        assert isinstance(native, NativeSeries)
        buckets = metric_families.native_buckets(metric.histogram)
        assert native == NativeSeries(
            metric.histogram.schema,
            metric.histogram.zero_count,
            metric.histogram.zero_threshold,
            {index: count for index, count in buckets.items() if count},
            metric.histogram.sample_count,
            metric.histogram.sample_sum,
        )
        assert (f"{name}_count", frozenset((pair.name, pair.value) for pair in metric.label)) not in pushed


def test_counters_say_since_when_they_count(server: RedisServer, queue: str) -> None:
    with Collector() as collector, exporting(server, collector.url, queue) as url:
        followed(url, queue)
        wait_until(lambda: len(collector.received) > 3, what="pushes", seconds=20)
        body = httpx.get(f"{url}/metrics", headers={"Accept": metric_families.ACCEPT}).content
        metrics = {metric.name: metric for metric in collector.received[-1].metrics}
    families = {family.name: family for family in metric_families.decoded(body)}
    name = "bullmq_job_added_total"
    (metric,) = (each for each in families[name].metric if each.label[1].value == queue)
    created = metric.counter.created_timestamp
    (point,) = (
        each for each in metrics[name].sum.data_points if each.attributes[1].value.string_value == queue
    )
    assert point.start_time_unix_nano == created.seconds * 10**9 + created.nanos > 0
    (cpu,) = metrics["process_cpu_seconds_total"].sum.data_points
    assert 0 < cpu.start_time_unix_nano < cpu.time_unix_nano
    (commands,) = metrics["redis_commands_processed_total"].sum.data_points
    assert commands.start_time_unix_nano == 0  # since when this node counts is not known


def test_whose_series_they_are(server: RedisServer) -> None:
    attributes = {"deployment.environment.name": "lab"}
    with Collector() as collector, exporting(server, collector.url, attributes=attributes) as url:
        wait_until(lambda: collector.received, what="a push", seconds=20)
        push = collector.received[0]
        port = url.rpartition(":")[2]
    assert push.path == "/v1/metrics"
    assert push.headers["content-encoding"] == "gzip"
    assert push.headers["user-agent"].startswith("oxherd/")
    assert push.resource["service.name"] == "oxherd"
    assert push.resource["service.instance.id"].endswith(f":{port}")
    assert push.resource["deployment.environment.name"] == "lab"


def test_what_cannot_be_read_does_not_arrive(fresh_redis: RedisServer) -> None:
    with Collector() as collector, exporting(fresh_redis, collector.url):
        up = ("redis_up", frozenset({("node", fresh_redis.address)}))
        wait_until(lambda: collector.series.get(up) == 1, what="up", seconds=30)
        fresh_redis.stop()
        wait_until(lambda: collector.series.get(up) == 0, what="down", seconds=30)
        collector.forget()
        wait_until(lambda: up in collector.series, what="a push", seconds=20)
        names = {key[0] for key in collector.series}
    assert "oxherd_health_score" in names
    assert not {name for name in names if name.startswith(("redis_memory", "bullmq_job_count"))}


def test_without_monitoring_only_the_process_is_there(server: RedisServer) -> None:
    with Collector() as collector, exporting(server, collector.url, monitoring=False):
        wait_until(lambda: collector.received, what="a push", seconds=20)
        series = collector.series
    assert series["oxherd_monitoring_enabled", frozenset()] == 0
    assert not {
        name for name, _ in series if name.startswith(("redis_", "bullmq_", "host_", "oxherd_health"))
    }


# --- what does not arrive --------------------------------------------------------------------------------


def issue(url: str) -> float | None:
    return value(url, "oxherd_issue", issue="otlp_push_failing", source="process", severity="medium")


def test_an_endpoint_that_is_not_there(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Collector() as collector:
        endpoint = collector.url
    with exporting(server, endpoint) as url:
        name = "oxherd_otlp_push_failures_total"
        wait_until(lambda: (value(url, name, reason="refused") or 0) >= 2, what="failures", seconds=30)
        assert value(url, "oxherd_otlp_push_success") == 0
        assert value(url, "oxherd_otlp_last_success_timestamp_seconds") is None
        wait_until(lambda: issue(url) == 1, what="the condition", seconds=20)
    told = [record for record in caplog.records if record.message == "push failed"]
    assert len(told) == 1
    assert (vars(told[0])["reason"], vars(told[0])["endpoint"]) == ("refused", endpoint)


def test_a_request_is_sent_again_when_the_endpoint_says(server: RedisServer) -> None:
    with Collector() as collector:
        collector.answers.append(CollectorAnswer(503, {"Retry-After": "2"}))
        with exporting(server, collector.url, interval_seconds=30) as url:
            wait_until(lambda: len(collector.received) == 2, what="a second attempt", seconds=20)
            wait_until(lambda: value(url, "oxherd_otlp_push_success") == 1, what="success", seconds=10)
            assert value(url, "oxherd_otlp_push_failures_total", reason="unavailable") == 0
        first, second = collector.received
    assert 1.9 <= second.at - first.at < 10
    assert first.message == second.message


def test_a_wait_that_is_longer_than_the_interval_is_kept(server: RedisServer) -> None:
    with Collector() as collector:
        collector.answers.append(CollectorAnswer(429, {"Retry-After": "4"}))
        with exporting(server, collector.url) as url:
            wait_until(lambda: len(collector.received) == 2, what="the next push", seconds=20)
            assert value(url, "oxherd_otlp_push_failures_total", reason="unavailable") == 1
        first, second = collector.received[:2]
    assert second.at - first.at > 3.9
    assert first.message != second.message


@pytest.mark.parametrize(
    ("status", "reason"), [(400, "rejected"), (401, "unauthorized"), (500, "server_error")]
)
def test_a_refusal_is_not_repeated(server: RedisServer, status: int, reason: str) -> None:
    with Collector() as collector:
        collector.answers.append(CollectorAnswer(status))
        with exporting(server, collector.url, interval_seconds=20) as url:
            name = "oxherd_otlp_push_failures_total"
            wait_until(lambda: value(url, name, reason=reason) == 1, what="told", seconds=20)
            time.sleep(2)
            assert len(collector.received) == 1


def test_a_redirect_is_not_followed(server: RedisServer) -> None:
    with Collector() as other, Collector() as collector:
        collector.always = CollectorAnswer(307, {"Location": f"{other.url}/v1/metrics"})
        with exporting(server, collector.url, headers={"X-Key": "a"}) as url:
            name = "oxherd_otlp_push_failures_total"
            wait_until(lambda: (value(url, name, reason="redirect") or 0) > 1, what="told", seconds=20)
        assert not other.received


def test_points_that_are_rejected_are_told(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    with Collector() as collector:
        collector.answers.append(partial_success(3, "out of order"))
        with exporting(server, collector.url) as url:
            wait_until(lambda: value(url, "oxherd_otlp_push_success") == 1, what="success", seconds=20)
            assert value(url, "oxherd_otlp_push_failures_total", reason="partial") == 1
            assert value(url, "oxherd_otlp_points_total", result="rejected") == 3
    (told,) = (record for record in caplog.records if record.message == "push failed")
    assert (vars(told)["error"], vars(told)["rejected"]) == ("out of order", 3)


def test_it_recovers_and_the_condition_ends(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Collector() as collector:
        collector.always = CollectorAnswer(404)
        with exporting(server, collector.url) as url:
            wait_until(lambda: issue(url) == 1, what="the condition", seconds=30)
            collector.always = None
            wait_until(lambda: issue(url) == 0, what="its end", seconds=30)
            assert value(url, "oxherd_otlp_push_success") == 1
    assert [record.message for record in caplog.records if record.message.startswith("push ")] == [
        "push failed",
        "push recovered",
    ]


def test_an_endpoint_that_hangs_holds_up_no_scrape(server: RedisServer) -> None:
    with Collector() as collector:
        collector.always = CollectorAnswer(delay=1.5)
        with exporting(server, collector.url) as url:
            wait_until(lambda: collector.received, what="a push", seconds=20)
            began = time.monotonic()
            scrapes = [httpx.get(f"{url}/metrics", timeout=10).status_code for _ in range(5)]
            assert scrapes == [200] * 5
            assert time.monotonic() - began < 1.5 or len(collector.received) > 1
            name = "oxherd_otlp_push_failures_total"
            collector.always = CollectorAnswer(delay=2.5)
            wait_until(lambda: (value(url, name, reason="timeout") or 0) > 0, what="told", seconds=20)


# --- secrets ---------------------------------------------------------------------------------------------


def test_a_secret_is_nowhere_though_the_endpoint_says_it(
    server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token, key = tmp_path / "token", tmp_path / "key"
    token.write_text(f"Bearer {SECRET}\n")
    key.write_text("first-key-of-two")
    files: dict[str, Any] = {"authorization_file": str(token), "header_files": {"X-Api-Key": str(key)}}
    with Collector() as collector:
        said = f"not valid: Bearer {SECRET} {SECRET} first-key-of-two".encode()
        collector.answers.append(CollectorAnswer(400, {"Content-Type": "text/plain"}, said))
        with exporting(server, collector.url, **files) as url:
            wait_until(lambda: len(collector.received) > 1, what="pushes", seconds=20)
            headers = collector.received[0].headers
            assert headers["authorization"] == f"Bearer {SECRET}"
            assert headers["x-api-key"] == "first-key-of-two"
            texts = [httpx.get(f"{url}/{path}").text for path in ("metrics", "", "status.json")]
    texts += [str(vars(record)) for record in caplog.records]
    assert any("not valid: " in text for text in texts)
    assert not any(SECRET in text or "first-key-of-two" in text for text in texts)


def test_a_file_of_a_header_is_read_again(server: RedisServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("Bearer first")
    with Collector() as collector, exporting(server, collector.url, authorization_file=str(token)):
        wait_until(lambda: collector.received, what="a push", seconds=20)
        token.write_text("Bearer second")

        def sent() -> set[str]:
            return {push.headers["authorization"] for push in collector.received}

        wait_until(lambda: "Bearer second" in sent(), what="the new token", seconds=20)
        token.unlink()
        collector.forget()
        wait_until(lambda: collector.received, what="a push", seconds=20)
        assert sent() == {"Bearer second"}


def test_tls_with_a_certificate_of_the_client(server: RedisServer, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    tls = {
        "ca_file": str(certificates.ca),
        "cert_file": str(certificates.client_certificate),
        "key_file": str(certificates.client_key),
    }
    with Collector(certificates=certificates) as collector:
        with exporting(server, collector.url, tls=tls) as url:
            wait_until(lambda: value(url, "oxherd_otlp_push_success") == 1, what="a push", seconds=20)
        collector.forget()
        with exporting(server, collector.url) as url:
            name = "oxherd_otlp_push_failures_total"
            wait_until(lambda: value(url, name, reason="certificate"), what="told", seconds=20)
        assert not collector.received
