"""`make demo`, as a person runs it: all of it comes up, is seen by Prometheus, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from lab.ports import BUS_OFFSET, free_port, free_ports, who_listens
from lab.prometheus import promtool
from lab.redis import RedisServer

ROOT = Path(__file__).parents[2]
QUEUES = {"{mail}", "{newsletter}", "{webhooks}", "{reminders}", "{thumbnails}"}

DASHBOARD_763 = (
    "redis_uptime_in_seconds",
    "redis_connected_clients",
    "redis_blocked_clients",
    "redis_memory_used_bytes",
    "redis_memory_max_bytes",
    "redis_commands_processed_total",
    "redis_commands_total{cmd!=''}",
    "redis_commands_duration_seconds_total{cmd!=''}",
    "redis_keyspace_hits_total",
    "redis_keyspace_misses_total",
    "redis_net_input_bytes_total",
    "redis_net_output_bytes_total",
    "redis_expired_keys_total",
    "redis_evicted_keys_total",
    "redis_db_keys{db='db0'}",
    "redis_db_keys_expiring{db='db0'}",
)
"""What the Grafana dashboard number 763 asks for, each for an `instance`."""


@contextmanager
def demo(*, redis: int, exporter: int, prometheus: int) -> Iterator[subprocess.Popen[str]]:
    """The demo on other ports than a person's. One that a failed test leaves is told to stop."""
    ports = [f"--redis-port={redis}", f"--exporter-port={exporter}", f"--prometheus-port={prometheus}"]
    command = [sys.executable, "-m", "deploy.demo", *ports]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def wait_for_line(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Read the demo's output up to a line; fails with all that was read when it ends before."""
    assert process.stdout is not None
    read = []
    for line in process.stdout:
        read.append(line)
        if found := re.search(pattern, line):
            return found
    pytest.fail(f"the demo ended with {process.wait()}:\n{''.join(read)}")


@pytest.mark.timeout(180)
def test_everything_comes_up_is_seen_and_goes_away() -> None:
    nodes, exporter, prometheus = free_ports(6), free_port(), free_port()
    with demo(redis=nodes[0], exporter=exporter, prometheus=prometheus) as process:
        home = Path(wait_for_line(process, r"all is up .* logs are in (\S+)")[1])

        def query(expression: str) -> list[tuple[dict[str, str], float]]:
            answer = httpx.get(
                f"http://127.0.0.1:{prometheus}/api/v1/query", params={"query": expression}
            ).json()
            return [(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]

        [(_, score)] = query("oxherd_health_score")
        assert 0 <= score <= 100
        assert {labels["node"] for labels, up in query("redis_up") if up == 1} == {
            f"127.0.0.1:{port}" for port in nodes
        }
        assert {labels["queue"] for labels, _ in query("bullmq_job_count")} == QUEUES
        instance = f"127.0.0.1:{nodes[0]}"
        unanswered = [series for series in DASHBOARD_763 if not query(with_instance(series, instance))]
        assert not unanswered

        groups = httpx.get(f"http://127.0.0.1:{prometheus}/api/v1/rules").json()["data"]["groups"]
        assert [len(group["rules"]) for group in groups] == [8]

        page = httpx.get(f"http://127.0.0.1:{exporter}/metrics", headers={"Accept": "text/plain"}).text
        assert page.count("\nredis_up{") == 6

        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 9  # six nodes, the queues, the exporter, Prometheus
        process.send_signal(signal.SIGINT)
        wait_for_line(process, "everything is stopped")
        assert process.wait(timeout=10) == 0

    assert not [child for child in children if child.is_running()]
    ports = [*nodes, *(port + BUS_OFFSET for port in nodes), exporter, prometheus]
    assert not [port for port in ports if who_listens(port)]
    assert not home.exists()


def test_a_taken_port_is_named_with_its_owner_and_nothing_starts(redis_server: RedisServer) -> None:
    nodes = free_ports(6)
    with demo(redis=nodes[0], exporter=redis_server.port, prometheus=free_port()) as process:
        output, _ = process.communicate(timeout=20)
        assert process.returncode == 1
    owner = f"redis-server (pid {redis_server.process.pid})"
    assert f"port {redis_server.port}, for the exporter: {owner}" in output
    assert "Redis Cluster" not in output


@pytest.mark.timeout(120)
def test_a_signal_while_it_starts_leaves_nothing_behind() -> None:
    nodes = free_ports(6)
    with demo(redis=nodes[0], exporter=free_port(), prometheus=free_port()) as process:
        wait_for_line(process, "Redis Cluster on")
        os.kill(process.pid, signal.SIGTERM)
        wait_for_line(process, "everything is stopped")
        assert process.wait(timeout=10) == 0
    assert not [port for port in nodes if who_listens(port)]


def test_prometheus_accepts_the_shipped_configuration() -> None:
    verdict = promtool("check", "config", str(ROOT / "deploy" / "prometheus" / "prometheus.yml"))
    assert verdict.returncode == 0, verdict.stderr


def with_instance(series: str, instance: str) -> str:
    """`series` or `series{...}`, for one instance."""
    name, _, selector = series.rstrip("}").partition("{")
    return f'{name}{{{selector}{"," if selector else ""}instance="{instance}"}}'
