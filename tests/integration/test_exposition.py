"""/metrics of a real cluster with real queues, as both parsers, promtool and Prometheus read it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster
from lab.deadline import wait_until
from lab.prometheus import promtool, start_prometheus
from lab.redis import RedisServer

pytestmark = pytest.mark.timeout(120)  # 7 s alone, of Prometheus and its queries

ROOT = Path(__file__).parents[2]
NASTY = '{odd "quoted" \\ back\nslash é ünï}'
EXCUSED = {
    "bullmq_job_count": "BullMQ's own name for it, from queue.exportPrometheusMetrics(): dashboards have it",
    "host_cpu_count": "a number of cores is no histogram's count, and the name says what it is",
    "host_machine_cpu_count": "likewise",
}
"""What promtool check metrics may complain of, and why we leave it."""

DASHBOARD_763 = (
    'max(max_over_time(redis_uptime_in_seconds{instance=~"$instance"}[5m]))',
    'sum(redis_connected_clients{instance=~"$instance"})',
    'sum(redis_blocked_clients{instance=~"$instance"})',
    'redis_memory_used_bytes{instance=~"$instance"}',
    'redis_memory_max_bytes{instance=~"$instance"}',
    'sum(rate(redis_commands_total{instance=~"$instance"}[1m])) by (cmd)',
    'irate(redis_keyspace_hits_total{instance=~"$instance"}[5m])',
    'irate(redis_keyspace_misses_total{instance=~"$instance"}[5m])',
    'sum(rate(redis_net_input_bytes_total{instance=~"$instance"}[5m]))',
    'sum(rate(redis_net_output_bytes_total{instance=~"$instance"}[5m]))',
    'sum(redis_db_keys{instance=~"$instance"}) by (db, instance)',
    'sum(redis_db_keys{instance=~"$instance"}) - sum(redis_db_keys_expiring{instance=~"$instance"})',
    'sum(rate(redis_expired_keys_total{instance=~"$instance"}[5m])) by (instance)',
    'sum(rate(redis_evicted_keys_total{instance=~"$instance"}[5m])) by (instance)',
    'sum(irate(redis_commands_duration_seconds_total{instance=~"$instance"}[1m])) by (cmd)',
)
"""What the panels of Grafana's dashboard 763 ask, as to names, labels and functions."""


@pytest.fixture(scope="module")
def exporter(redis_cluster: LocalCluster) -> Iterator[str]:
    """The URL of an exporter that knows a cluster and two queues, one with an odd name."""
    settings = ExporterSettings.model_validate(
        {"listen": "127.0.0.1:0", "redis": {"cluster": redis_cluster.addresses[:1]}}
    )
    for node in redis_cluster.masters():
        node.cli("flushall")  # other modules' queues are found too, under whatever prefix
    with BullMQ(6, cluster=redis_cluster.addresses) as bullmq:
        for queue in ("{mail}", NASTY):
            bullmq.add_bulk(queue, 3)
        bullmq.start_worker("{mail}")
        program = Exporter(settings)
        program.start()
        try:
            url = f"http://{program.address}"
            done = 'bullmq_job_count{prefix="bull",queue="{mail}",state="waiting"} 0.0'

            def followed() -> bool:
                text = httpx.get(f"{url}/metrics").text
                return text.count("\nbullmq_job_completed_total{") == 2 and done in text

            wait_until(followed, what="both queues are followed, and the worker has taken its jobs")
            yield url
        finally:
            assert program.stop()
            for queue in ("{mail}", NASTY):
                bullmq.obliterate(queue)


def test_both_formats_parse_and_say_the_same(exporter: str, redis_cluster: LocalCluster) -> None:
    text = httpx.get(f"{exporter}/metrics", headers={"Accept": "text/plain;version=0.0.4"})
    openmetrics = httpx.get(f"{exporter}/metrics", headers={"Accept": "application/openmetrics-text"})
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = []
    parsed = parse_openmetrics(openmetrics.text)  # type: ignore[no-untyped-call]
    for families in (parse_text(text.text), parsed):
        samples = [sample for family in families for sample in family.samples]
        assert {sample.labels["node"] for sample in samples if sample.name == "redis_up"} == set(
            redis_cluster.addresses
        )
        counted = {
            sample.labels["queue"]: sample.value
            for sample in samples
            if sample.name == "bullmq_job_count" and sample.labels["state"] == "waiting"
        }
        assert counted == {"{mail}": 0, NASTY: 3}
        names.append({sample.name for sample in samples if not sample.name.endswith("_created")})
    assert names[0] == names[1]


def test_promtool_complains_of_nothing_else(exporter: str) -> None:
    checked = promtool("check", "metrics", stdin=httpx.get(f"{exporter}/metrics").text)
    complaints = [line for line in (checked.stdout + checked.stderr).splitlines() if line.strip()]
    assert {line.split()[0] for line in complaints} == set(EXCUSED), complaints


def test_what_dashboards_for_redis_exporter_ask_is_answered(
    exporter: str, redis_cluster: LocalCluster
) -> None:
    shipped = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
    assert "localhost:9877" in shipped
    quick = re.sub(r"scrape_(interval|timeout): \ds", r"scrape_\1: 1s", shipped)
    config = quick.replace("localhost:9877", exporter.removeprefix("http://"))
    node = redis_cluster.masters()[0].address
    pattern = node.replace(".", "\\\\.")
    with start_prometheus(config) as prometheus:
        prometheus.wait_for(f'rate(redis_commands_total{{instance="{node}"}}[1m])')
        assert {labels["instance"] for labels, _ in prometheus.query("redis_up")} == set(
            redis_cluster.addresses
        )
        unanswered = [
            query for query in DASHBOARD_763 if not prometheus.query(query.replace("$instance", pattern))
        ]
        assert unanswered == []


def test_queues_whose_keys_are_no_utf8_are_told_apart_and_shown_everywhere(fresh_redis: RedisServer) -> None:
    """Anybody who may write to Redis may name a key so."""
    newest = int(time.time() * 1000)
    script = """
    for number, name in ipairs({'a\\255', 'a\\254'}) do
      redis.call('HSET', 'bull:' .. name .. ':meta', 'version', 'bullmq:5.0.0')
      for job = 1, 60 + number do
        redis.call('ZADD', 'bull:' .. name .. ':failed', ARGV[1], job)
      end
    end
    """
    fresh_redis.cli("eval", script, 0, newest)
    program = Exporter(
        ExporterSettings.model_validate({"listen": "127.0.0.1:0", "redis": {"url": fresh_redis.url}})
    )
    program.start()
    try:
        url = f"http://{program.address}"
        wait_until(lambda: "\nbullmq_queues 2.0\n" in httpx.get(f"{url}/metrics").text, what="both queues")
        samples = [
            sample
            for family in parse_text(httpx.get(f"{url}/metrics").text)
            for sample in family.samples
            if sample.name == "bullmq_job_count" and sample.labels["state"] == "failed"
        ]
        assert {sample.labels["queue"]: sample.value for sample in samples} == {"a\\xff": 61, "a\\xfe": 62}
        for path in ("/", "/status.json"):
            answer = httpx.get(f"{url}{path}")
            assert answer.status_code == 200
            assert "a\\xfe" in answer.text.replace("\\\\", "\\")
    finally:
        assert program.stop()
