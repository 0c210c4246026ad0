"""Real Prometheus scrapes real exporters in protobuf: histograms in either form, and what the shipped rules
and dashboards make of them. `make test-prometheus` runs it on newer versions."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from math import ceil, isnan
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.dashboards import panels
from lab.deadline import wait_until
from lab.prometheus import Prometheus, start_prometheus
from lab.redis import RedisServer
from tests.support import metric_families
from tests.support.metric_families import ACCEPT

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parents[2]
FORMS = ("classic", "native", "both")
QUEUE = "mail"
WAITS = sorted(int(1.013**step) for step in range(300, 1100))  # ms: 48 ms to 25 minutes
RUNS = [30] * 700 + [90] * 100  # nearly constant
GROWTH = 2 ** (1 / 8)
ROUNDS = 2  # the first is scraped before the second is there: a rate needs two samples


def events_of_jobs(start_ms: int, first: int) -> list[tuple[int, list[str]]]:
    """Events of jobs that wait and run for these times."""
    events = []
    for number, (wait, run) in enumerate(zip(WAITS, RUNS, strict=True), first):
        job = ["jobId", str(number)]
        events += [
            (start_ms, ["event", "waiting", *job]),
            (start_ms + wait, ["event", "active", *job, "prev", "waiting"]),
            (start_ms + wait + run, ["event", "completed", *job]),
        ]
    return sorted(events, key=lambda event: event[0])


def add_jobs(server: RedisServer, round_number: int) -> None:
    """Into the stream, as if a worker had run them: an exporter takes its times from the ids."""
    started = int(time.time() * 1000) + round_number * 3_600_000
    with redis.Redis(host="127.0.0.1", port=server.port) as client, client.pipeline() as pipe:
        for place, (ms, fields) in enumerate(events_of_jobs(started, 10_000 * round_number)):
            pairs = dict(zip(fields[::2], fields[1::2], strict=True))
            pipe.xadd(f"bull:{QUEUE}:events", pairs, id=f"{ms}-{place}")
        pipe.execute()


def exporter_of(server: RedisServer, form: str) -> Exporter:
    settings = {
        "listen": "127.0.0.1:0",
        "redis": {"url": server.url},
        "bullmq": {"queues": [QUEUE], "histograms": form, "event_buckets": [0.1, 1, 10, 60, 300]},
    }
    return Exporter(ExporterSettings.model_validate(settings))


def started(url: str) -> int:
    found = re.search(
        r"^bullmq_job_started_total\{.*\} (\S+)$", httpx.get(f"{url}/metrics").text, re.MULTILINE
    )
    return int(float(found[1])) if found else -1


@pytest.fixture(scope="module")
def exporters(redis_server: RedisServer) -> Iterator[dict[str, str]]:
    """The URL of an exporter with each setting; the jobs of the first round are done."""
    redis_server.cli("hset", f"bull:{QUEUE}:meta", "version", "bullmq:6.7.0")
    programs = {form: exporter_of(redis_server, form) for form in FORMS}
    try:
        for program in programs.values():
            program.start()
        urls = {form: f"http://{program.address}" for form, program in programs.items()}
        wait_until(lambda: all(started(url) == 0 for url in urls.values()), what="followed", seconds=30)
        add_jobs(redis_server, 0)
        wait_until(
            lambda: all(started(url) == len(WAITS) for url in urls.values()), what="counted", seconds=30
        )
        yield urls
    finally:
        stopped = [program.stop() for program in programs.values()]
        assert all(stopped)


@pytest.fixture(scope="module")
def prometheus(exporters: dict[str, str], redis_server: RedisServer) -> Iterator[Prometheus]:
    """It has scraped all of them before and after the second round."""
    with_classic = ""
    if (version := prometheus_version()) >= (2, 45):
        name = "always_scrape_classic_histograms" if version >= (3, 0) else "scrape_classic_histograms"
        with_classic = f"{name}: true"
    jobs = [
        {
            "job_name": form,
            "scrape_interval": "2s",
            "scrape_timeout": "2s",
            "static_configs": [{"targets": [url.removeprefix("http://")]}],
            **(yaml.safe_load(with_classic or "{}") if form == "both" else {}),
        }
        for form, url in exporters.items()
    ]
    if version >= (3, 5):
        converted = {"job_name": "converted", "convert_classic_histograms_to_nhcb": True}
        jobs.append({**jobs[FORMS.index("classic")], **converted})
    config = yaml.safe_dump({"scrape_configs": jobs})
    with start_prometheus(config, flags=["--enable-feature=native-histograms"]) as server:
        forms = [job["job_name"] for job in jobs]
        for form in forms:
            server.wait_for(f'bullmq_job_started_total{{job="{form}"}} == {len(WAITS)}', seconds=60)
        add_jobs(redis_server, 1)
        for form in forms:
            server.wait_for(f'bullmq_job_started_total{{job="{form}"}} == {ROUNDS * len(WAITS)}', seconds=60)
        for form in forms:  # a rate needs a sample of each round
            part = "_count" if form == "classic" else ""
            for metric in ("wait", "processing"):
                selector = f'bullmq_job_{metric}_seconds{part}{{job="{form}"}}'
                counted = selector if part else f"histogram_count({selector})"
                server.wait_for(f"sum({counted}) == {ROUNDS * len(WAITS)}", seconds=60)
        yield server


def prometheus_version() -> tuple[int, int]:
    with start_prometheus("{}") as server:
        major, minor, *_ = server.get("status/buildinfo")["version"].split(".")
    return int(major), int(minor)


def test_each_sample_of_the_text_is_in_protobuf(exporters: dict[str, str]) -> None:
    url = exporters["classic"]

    def scraped(accept: str) -> httpx.Response:
        return httpx.get(f"{url}/metrics", headers={"Accept": accept})

    def samples_of(text: str) -> dict[metric_families.Key, float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse_text(text)
            for sample in family.samples
            if sample.name != "oxherd_exposed_samples"  # it counts those of a text
        }

    def both() -> tuple[httpx.Response, httpx.Response] | None:
        text, protobuf = scraped("text/plain"), scraped(ACCEPT)
        same = metric_families.samples(protobuf.content).keys() == samples_of(text.text).keys()
        return (text, protobuf) if same else None

    # Between two scrapes a series may appear, as that of a command that Redis had not run before.
    found = wait_until(both, what="two scrapes with the same series", seconds=30)
    assert found is not None
    text, protobuf = found
    assert protobuf.headers["content-type"].startswith("application/vnd.google.protobuf; proto=io.prom")
    parsed, samples = list(parse_text(text.text)), samples_of(text.text)
    read = metric_families.samples(protobuf.content)
    kinds = {family.name + "_total" * (family.type == "counter"): family.type for family in parsed}
    assert metric_families.kinds(protobuf.content) == {
        name: kind for name, kind in kinds.items() if any(key[0].startswith(name) for key in samples)
    }
    steady = {
        key for key in read if key[0].startswith(("bullmq_job_", "bullmq_queue_p", "host_memory_total"))
    }
    assert len(steady) > 30
    assert {key: read[key] for key in steady} == {key: samples[key] for key in steady}


def test_text_has_classic_histograms_whatever_is_set(exporters: dict[str, str]) -> None:
    texts = [
        sorted(re.findall(r"^bullmq_job_\w+_seconds.*$", httpx.get(f"{url}/metrics").text, re.MULTILINE))
        for url in exporters.values()
    ]
    assert texts[0] == texts[1] == texts[2]
    assert len(texts[0]) == 2 * (6 + 2)


def series(prometheus: Prometheus, form: str) -> set[str]:
    matcher = '{__name__=~"bullmq_job_(wait|processing)_seconds.*", job="%s"}' % form  # noqa: UP031
    data = prometheus.get("query", query=f"count by (__name__) ({matcher})")["result"]
    return {entry["metric"]["__name__"].partition("_seconds")[2] for entry in data}


def test_prometheus_has_the_form_that_is_set(prometheus: Prometheus) -> None:
    classic, native = {"_bucket", "_sum", "_count"}, {""}
    assert series(prometheus, "classic") == classic
    assert series(prometheus, "native") == native
    with_classic = prometheus_version() >= (2, 45)
    assert series(prometheus, "both") == (native | classic if with_classic else native)


def exact(times: list[int], share: float) -> float:
    return sorted(times)[ceil(share * len(times)) - 1] / 1000


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize(("metric", "times"), [("wait", WAITS), ("processing", RUNS)])
@pytest.mark.parametrize("form", ["native", "both"])
def test_quantiles_are_right_within_a_bucket(
    prometheus: Prometheus, form: str, metric: str, times: list[int], share: float
) -> None:
    selector = f'bullmq_job_{metric}_seconds{{job="{form}"}}'
    for vector in (selector, f"rate({selector}[5m])", f"increase({selector}[5m])"):
        ((_, quantile),) = prometheus.query(f"histogram_quantile({share}, {vector})")
        assert exact(times, share) / GROWTH <= quantile <= exact(times, share) * GROWTH, vector


@pytest.mark.parametrize("form", ["native", "both"])
def test_counts_and_sums_are_exact(prometheus: Prometheus, form: str) -> None:
    for metric, times in (("wait", WAITS), ("processing", RUNS)):
        selector = f'bullmq_job_{metric}_seconds{{job="{form}"}}'
        ((_, count),) = prometheus.query(f"histogram_count({selector})")
        ((_, total),) = prometheus.query(f"histogram_sum({selector})")
        assert count == ROUNDS * len(times)
        assert total == pytest.approx(ROUNDS * sum(times) / 1000)


def shipped() -> dict[str, str]:
    """Each expression on histograms of queues in rules and dashboards, and where it is from."""
    found: dict[str, str] = {}
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules/oxherd-extra.yml").read_text())
    for group in rules["groups"]:
        found |= {rule["expr"]: rule.get("record", "") for rule in group["rules"]}
    for file in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json")):
        for panel in panels(json.loads(file.read_text())):
            found |= {target["expr"]: f"{panel['title']} {target['refId']}" for target in panel["targets"]}
    return {
        f"{name} {number}": expression
        for number, (expression, name) in enumerate(found.items())
        if "bullmq_job_wait_seconds" in expression or "bullmq_job_processing_seconds" in expression
    }


def instant(prometheus: Prometheus, expression: str, form: str) -> list[tuple[dict[str, str], Any]]:
    for variable, value in (('="oxherd"', f'="{form}"'), ('=~"$job"', f'="{form}"')):
        expression = expression.replace(variable, value)
    expression = re.sub(r'=~"\$\w+"', '=~".*"', expression).replace("$__rate_interval", "5m")
    result = prometheus.get("query", query=expression)["result"]
    assert all(entry["metric"].pop("job", form) == form for entry in result)
    return [
        (entry["metric"], float(entry["value"][1]) if "value" in entry else entry["histogram"][1])
        for entry in result
    ]


@pytest.mark.parametrize("name", shipped())
def test_rules_and_dashboards_have_data_in_either_form(prometheus: Prometheus, name: str) -> None:
    expression = shipped()[name]
    native = ("native", "both", *(["converted"] if prometheus.query('up{job="converted"}') else []))
    results = {form: instant(prometheus, expression, form) for form in ("classic", *native)}
    assert all(results.values()), results
    if "or on ()" in expression:  # a heat map
        ((labels, histogram),) = results["native"]
        assert labels == {}
        assert float(histogram["count"]) > 0
        assert {labels["le"] for labels, _ in results["classic"]} >= {"10.0", "+Inf"}
        return
    for form in native:
        for (labels, value), (others, reference) in zip(results[form], results["classic"], strict=True):
            assert labels == others
            assert not isnan(value)
            if "ratio" in name:
                assert value == pytest.approx(reference, rel=0.03)
            else:  # a classic quantile is off by its buckets, an increase by when its target was scraped
                assert value > 0


def test_the_share_of_late_jobs_is_right(prometheus: Prometheus) -> None:
    expression = next(text for name, text in shipped().items() if "wait_slow:ratio_rate5m" in name)
    late = sum(ms > 10_000 for ms in WAITS) / len(WAITS)
    near = sum(10_000 / GROWTH < ms < 10_000 * GROWTH for ms in WAITS) / len(WAITS)
    for form, error in (("classic", 1e-9), ("native", near)):
        ((_, ratio),) = instant(prometheus, expression, form)
        assert ratio == pytest.approx(late, abs=error), form
