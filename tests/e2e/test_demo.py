"""`make demo` as a person runs it: start, actions, alerts, and nothing left behind."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from deploy.rules.conditions import CONDITION_ALERTS
from lab.alertmanager import amtool
from lab.deadline import wait_until
from lab.ports import free_port, who_listens
from lab.prometheus import promtool
from lab.redis import RedisServer
from tests.support.demo import FASTER, ROOT, RunningDemo, ask, query, run_demo
from tests.support.doctor import doctor

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
"""The series that the Grafana dashboard 763 queries, each for an `instance`."""


pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def demo() -> Iterator[RunningDemo]:
    """Everything is up. A test repairs what it breaks; the last one stops the demo."""
    with run_demo() as running:
        running.wait_for("Ctrl-C stops everything", seconds=120)
        yield running


def test_everything_is_up_and_has_series(demo: RunningDemo) -> None:
    [(_, score)] = query(demo, "oxherd_health_score")
    assert 0 <= score <= 100
    assert {labels["node"] for labels, up in query(demo, "redis_up") if up == 1} == {
        f"127.0.0.1:{port}" for port in demo.nodes
    }
    assert {labels["queue"] for labels, _ in query(demo, "bullmq_job_count")} == QUEUES
    instance = f"127.0.0.1:{demo.nodes[0]}"
    unanswered = [series for series in DASHBOARD_763 if not query(demo, with_instance(series, instance))]
    assert not unanswered

    groups = httpx.get(f"http://127.0.0.1:{demo.prometheus}/api/v1/rules").json()["data"]["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if rule["type"] == "alerting"]
    assert len(alerts) == 8

    page = httpx.get(f"http://127.0.0.1:{demo.exporter}/metrics", headers={"Accept": "text/plain"}).text
    assert page.count("\nredis_up{") == 6


def test_the_doctor_finds_nothing(demo: RunningDemo) -> None:
    """By the line that the demo prints: without the file it would look at another Redis."""
    found = doctor({}, *demo.wait_for(r"bin/monitor doctor (.+)").group(1).split())
    assert (found.code, found.bad) == (0, set()), found.text
    assert {finding["status"] for finding in found.findings} == {"good"}


SELECTOR = re.compile(r"\b((?:redis|bullmq|host|oxherd)_\w+|up)(\{[^{}]*\})")
NATIVE = "bullmq_job_wait_seconds{"
"""A histogram in the form that the demo does not have; the rules take either."""
ISSUE = re.compile(r'oxherd_issue(?:_affected|_affected_count)?\{.*issue="(\w+)"')


def test_every_series_of_the_rules_exists(demo: RunningDemo) -> None:
    """With a wrong name an alert would never fire. What a condition affects is only there with it."""
    selectors = set()
    for path in sorted((ROOT / "deploy" / "prometheus" / "rules").glob("oxherd*.yml")):
        groups = yaml.safe_load(path.read_text())["groups"]
        for rule in (rule for group in groups for rule in group["rules"]):
            selectors |= {name + labels for name, labels in SELECTOR.findall(rule["expr"])}
            query(demo, rule["expr"])
    assert len(selectors) > 20
    empty = {selector for selector in selectors if not query(demo, selector)}
    native = {selector for selector in empty if selector.startswith(NATIVE)}
    assert {selector.replace("{", "_count{", 1) for selector in native} <= selectors - empty
    empty -= native
    assert {selector for selector in empty if not selector.startswith("oxherd_issue")} == set()
    named = {match[1] for selector in empty if (match := ISSUE.match(selector))}
    assert named <= {alert.condition for alert in CONDITION_ALERTS} | {"queue_standing_still"}


def test_the_workers_of_the_bursty_queue_follow_its_batches(demo: RunningDemo) -> None:
    """200 jobs come every half minute; one worker of four slots would take 20 s for them."""
    workers = "oxherd_scaler_current_replicas{target='newsletter'}"
    wait_until(lambda: query(demo, f"{workers} > 1"), what="more workers", seconds=60, every=0.2)
    fewer = f"{workers} < max_over_time({workers}[1m])"
    wait_until(lambda: query(demo, fewer), what="fewer again", seconds=60, every=0.2)
    command = [sys.executable, "-m", "scaler", "status", f"--url=http://127.0.0.1:{demo.scaler}"]
    shown = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert "newsletter" in shown.stdout


def test_it_prints_the_divisor_of_the_times(demo: RunningDemo) -> None:
    assert f"divided by {FASTER}: a minute takes 0.5 s" in demo.printed


def test_the_generated_configuration_is_accepted(demo: RunningDemo) -> None:
    home = home_of(demo)
    result = promtool("check", "config", str(home / "prometheus.yml"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "16 rules found" in result.stdout
    result = amtool("check-config", str(home / "alertmanager.yml"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 templates" in result.stdout


def test_an_action_that_is_not_possible_is_reported(demo: RunningDemo) -> None:
    misspelled = demo.ask("kil-node")
    assert misspelled.returncode == 2
    assert misspelled.stderr == "demo: unknown action 'kil-node'; did you mean kill-node?\n"

    demo.type("coffee")
    demo.wait_for("not done  coffee: unknown action 'coffee'; the actions are kill-node, ")

    unneeded = demo.ask("start-node")
    assert unneeded.returncode == 1
    assert unneeded.stderr == "demo: every node runs\n"


def test_a_missing_demo_is_reported(demo: RunningDemo) -> None:
    elsewhere = ask("kill-node", redis_port=free_port())
    assert elsewhere.returncode == 2
    assert elsewhere.stderr.startswith("demo: no demo runs here with its Redis on ")
    assert "Traceback" not in elsewhere.stderr


def test_a_silent_client_does_not_block_others(demo: RunningDemo) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(home_of(demo) / "control"))
        assert demo.ask("start-node").stderr == "demo: every node runs\n"


def test_alerts_fire_and_are_resolved_after_the_repair(demo: RunningDemo) -> None:
    assert demo.ask("fail-jobs").returncode == 0
    demo.type("stop-workers")
    assert demo.ask("fill-memory").returncode == 0
    demo.wait_for(r"FIRING    medium    HighMemoryUsage      Nodes, .*: 127")
    assert demo.ask("free-memory").returncode == 0
    demo.wait_for(
        r"FIRING    medium    HighFailedJobs       .* jobs failed in the last hour, .*\{reminders\} \("
    )
    demo.wait_for(r"FIRING    critical  QueueSystemDown      Queues .*\{mail\} \(")
    demo.type("clear-failed")
    assert demo.ask("start-workers").returncode == 0
    demo.wait_for(r"RESOLVED  critical  QueueSystemDown      Queues .*\{mail\} \(")

    killed = demo.ask("kill-node")
    assert killed.returncode == 0
    [node] = re.findall(r"127\.0\.0\.1:\d+", killed.stdout)
    down = f"high      ClusterNodeDown      Nodes .*: {node}[.]"
    demo.wait_for(f"FIRING    {down}")
    assert demo.ask("kill-node").returncode == 1
    assert demo.ask("start-node").returncode == 0
    demo.wait_for(f"RESOLVED  {down}")
    demo.wait_for("RESOLVED  medium    HighMemoryUsage")
    demo.wait_for("RESOLVED  medium    HighFailedJobs", seconds=90)
    assert "Traceback" not in demo.printed


def test_all_redis_nodes_are_lost_and_restarted(demo: RunningDemo) -> None:
    lost = "critical  RedisConnectionDown  No Redis node answers, .*: localhost:"
    assert demo.ask("stop-redis").returncode == 0
    demo.wait_for(f"FIRING    {lost}{demo.exporter} ")
    refused = demo.ask("fail-jobs")
    assert refused.returncode == 1
    assert refused.stderr == "demo: no Redis node answers; start-node first\n"
    assert demo.ask("start-node").stdout == "demo: every node is back\n"
    demo.wait_for(f"RESOLVED  {lost}{demo.exporter} ")


def test_a_node_that_ends_by_itself_is_reported(demo: RunningDemo) -> None:
    address = f"127.0.0.1:{demo.nodes[-1]}"
    [node] = [child for child in children_of(demo) if address in " ".join(child.cmdline())]
    node.kill()
    demo.wait_for(f"ended     Redis {address}; the demo continues without it")
    assert demo.ask("start-node").stdout == f"demo: {address} is back\n"


def test_ctrl_c_leaves_nothing_behind_not_even_a_node_that_hangs(demo: RunningDemo) -> None:
    assert demo.ask("hang-node").returncode == 0
    children, home = children_of(demo), home_of(demo)
    # Six nodes, the queues, exporter, scaler, Alertmanager, Prometheus, at least a worker and its shim.
    assert len(children) >= 13
    demo.stop()
    assert not [child for child in children if child.is_running()]
    assert not [port for port in demo.ports if who_listens(port)]
    assert not home.exists()
    assert demo.printed.count("  ended  ") <= 1  # each node that ended without an action, once
    assert "Traceback" not in demo.printed


def children_of(demo: RunningDemo) -> list[psutil.Process]:
    return psutil.Process(demo.process.pid).children(recursive=True)


def home_of(demo: RunningDemo) -> Path:
    return Path(demo.wait_for(r"everything is up .* logs are in (\S+)")[1])


def test_a_taken_port_is_named_with_its_owner_and_nothing_starts(redis_server: RedisServer) -> None:
    with run_demo(exporter=redis_server.port) as demo:
        assert demo.process.wait(timeout=20) == 1
    owner = f"redis-server (pid {redis_server.process.pid})"
    assert f"port {redis_server.port}, for exporter: {owner}" in demo.printed
    assert "starting" not in demo.printed


def test_a_signal_while_it_starts_leaves_nothing_behind() -> None:
    with run_demo() as demo:
        demo.wait_for("starting Redis")
        demo.stop(signal.SIGTERM)
    assert not [port for port in demo.ports if who_listens(port)]


def test_prometheus_accepts_the_shipped_configuration() -> None:
    result = promtool("check", "config", str(ROOT / "deploy" / "prometheus" / "prometheus.yml"))
    assert result.returncode == 0, result.stderr


def with_instance(series: str, instance: str) -> str:
    """`series` or `series{...}`, for one instance."""
    name, _, selector = series.rstrip("}").partition("{")
    return f'{name}{{{selector}{"," if selector else ""}instance="{instance}"}}'
