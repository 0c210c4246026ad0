"""Every query of every dashboard, on the Prometheus of a demo that scales workers and loses a Redis node; and
the pictures of the dashboards and of the status page at that moment."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import yaml
from playwright.sync_api import sync_playwright

from lab.dashboards import GrafanaQueries, QueryResults, draw, panels, run_queries, variables
from lab.deadline import wait_until
from lab.programs import find_program
from tests.support.demo import query, run_demo
from tests.support.system import running

pytestmark = pytest.mark.timeout(180)

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}

EMPTY = {
    "oxherd-host": {
        "Error rate: {{probe}}: {{reason}}": "a probe need not have failed",
        "Certificates: {{probe}}": "the demo's endpoints have no certificate",
    },
    "oxherd-queues": {
        "Queues: oldest": "no job need wait at that moment",
        "Why jobs fail: {{queue}}: {{reason}}": "no job of the demo fails for good",
        "Memory of the queues: failed, kept": "no job of the demo fails for good",
        "Full in: {{node}}": "the demo's servers have no maxmemory",
        "Schedulers: runs in": "the demo has no schedulers",
        "Schedulers: ran ago": "the demo has no schedulers",
        "Schedulers: due for": "the demo has no schedulers",
        "Late, stopped or twice: measured": "the demo has no schedulers",
        "Budget of waits: {{prefix}}:{{queue}}": "the demo does not load the opt-in rules",
        "Budget of failures: {{prefix}}:{{queue}}": "the demo does not load the opt-in rules",
        "Budget of waits: share: {{prefix}}:{{queue}}": "the demo does not load the opt-in rules",
        "Budget of failures: share: {{prefix}}:{{queue}}": "the demo does not load the opt-in rules",
        "Load and utilization: utilization of {{queue}}": "the demo's settings have no concurrency",
    },
    "oxherd-scaling": {
        "Targets: override": "no override is set",
        "Overrides: {{target}}": "no override is set",
        "Errors: {{kind}}": "no error need have happened",
    },
}
"""Queries that may be empty here, and why."""

if psutil.net_if_stats().keys() <= {"lo"}:
    EMPTY["oxherd-host"] |= dict.fromkeys(
        ("Network: {{device}} in", "Network: {{device}} out"),
        "loopback is not counted, and there is no other device",
    )


class World(NamedTuple):
    """The results of each dashboard's queries on a demo's Prometheus, the length of the time range, and the
    address of a status page of the same Redis."""

    results: dict[str, QueryResults]
    prometheus: GrafanaQueries
    seconds: float
    page: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The state: a master is down, its replica took over, an alert fires, workers were scaled out and in."""
    begin = time.monotonic()
    with run_demo() as demo, ExitStack() as undo:
        demo.wait_for("Ctrl-C stops everything", seconds=120)
        settings = yaml.safe_load(Path(demo.wait_for(r"logs are in (\S+)")[1], "exporter.yml").read_text())
        # The shipped thresholds, which the demo divides; but whatever else runs on this machine.
        settings["health"] = {"thresholds": {"host_load_per_core": 1000}}
        folder = tmp_path_factory.mktemp("page")
        exporter = undo.enter_context(running(folder, "monitor", {}, settings, key=None))
        for direction in ("up", "down"):
            scaled = f'sum(increase(oxherd_scaler_decisions_total{{direction="{direction}"}}[2m])) > 0'
            wait_until(lambda expression=scaled: query(demo, expression), what=scaled, seconds=90, every=0.5)  # type: ignore[misc]
        assert demo.ask("kill-node").returncode == 0
        demo.wait_for("FIRING    high      ClusterNodeDown")
        wait_until(
            lambda: query(demo, "redis_cluster_failovers_total > 0"), what="a failover", seconds=60, every=0.5
        )
        later = "count_over_time((redis_cluster_failovers_total > 0)[1m:1s]) > 3"
        wait_until(lambda: query(demo, later), what="points after it, for what is an increase", seconds=60)
        seconds = time.monotonic() - begin
        prometheus = GrafanaQueries(f"http://127.0.0.1:{demo.prometheus}", seconds)
        results = {uid: run_queries(dashboard, prometheus, seconds) for uid, dashboard in DASHBOARDS.items()}
        yield World(results, prometheus, seconds, exporter.url)
        demo.stop()


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_every_query_returns_data(world: World, uid: str) -> None:
    dashboard, results = DASHBOARDS[uid], world.results[uid]
    empty = {
        f"{panel['title']}: {_named(panel, place)}"
        for panel in panels(dashboard)
        for place, series in enumerate(results.panels[panel["id"]])
        if not series
    }
    assert empty <= EMPTY.get(uid, {}).keys()


def _named(panel: dict[str, Any], place: int) -> str:
    if panel["type"] != "table":
        return str(panel["targets"][place]["legendFormat"])
    names = panel["transformations"][1]["options"]["renameByName"]
    return str(names.get(f"Value #{chr(65 + place)}", names.get("Value")))


EXISTING_QUERIES = {
    "dashboard 763": [
        "sum(max_over_time(redis_uptime_in_seconds{INSTANCE}[1m]))",
        "sum by (instance) (redis_connected_clients{INSTANCE})",
        "100 * sum(redis_memory_used_bytes{INSTANCE}) / sum(redis_total_system_memory_bytes{INSTANCE})",
        "sum by (instance) (rate(redis_commands_processed_total{INSTANCE}[1m]))",
        "irate(redis_keyspace_hits_total{INSTANCE}[5m])",
        "irate(redis_keyspace_misses_total{INSTANCE}[5m])",
        "sum(rate(redis_net_input_bytes_total{INSTANCE}[5m]))",
        "sum(rate(redis_net_output_bytes_total{INSTANCE}[5m]))",
        "sum by (db, instance) (redis_db_keys{INSTANCE})",
        "sum(redis_db_keys{INSTANCE}) - sum(redis_db_keys_expiring{INSTANCE})",
        "sum by (instance) (rate(redis_expired_keys_total{INSTANCE}[5m]))",
        "sum by (instance) (rate(redis_evicted_keys_total{INSTANCE}[5m]))",
        "topk(5, irate(redis_commands_total{INSTANCE}[1m]))",
        "sum by (cmd) (irate(redis_commands_duration_seconds_total{INSTANCE}[1m]))",
    ],
    "alerts for redis_exporter": [
        "redis_up{INSTANCE}",
        "redis_connected_clients{INSTANCE} / redis_config_maxclients{INSTANCE}",
        "redis_cluster_slots_fail{INSTANCE}",
        "redis_cluster_slots_pfail{INSTANCE}",
        "redis_cluster_state{INSTANCE}",
        "redis_master_link_up{INSTANCE}",
        "increase(redis_rejected_connections_total{INSTANCE}[1m])",
        "time() - redis_rdb_last_save_timestamp_seconds{INSTANCE}",
        "changes(redis_connected_slaves{INSTANCE}[1m])",
    ],
    "BullMQ's own export": [
        'bullmq_job_count{queue="{mail}", state="waiting"}',
        'sum by (queue) (bullmq_job_count{state=~"waiting|active|delayed"})',
    ],
}
"""Queries of existing dashboards and alerts for redis_exporter and BullMQ's exportPrometheusMetrics()."""


@pytest.mark.parametrize("source", EXISTING_QUERIES)
def test_existing_queries_find_the_series(world: World, source: str) -> None:
    """One exporter for all nodes, but each node is an instance: see metric_relabel_configs."""
    for expression in EXISTING_QUERIES[source]:
        query_text = expression.replace("{INSTANCE}", '{instance=~"127[.]0[.]0[.]1:.+"}')
        assert world.prometheus.series(query_text, instant=False), expression


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_every_variable_has_values(world: World, uid: str) -> None:
    assert list(variables(DASHBOARDS[uid]))
    for name, values in world.results[uid].variables.items():
        assert values, name


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_every_annotation_has_a_mark(world: World, uid: str) -> None:
    for note in DASHBOARDS[uid]["annotations"]["list"]:
        if "target" in note:
            assert world.prometheus.series(note["target"]["expr"], instant=False), note["name"]


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_a_dashboard_is_drawn(world: World, uid: str, tmp_path: Path) -> None:
    """OXHERD_PICTURES=docs/images writes the pictures of the guides."""
    folder = Path(os.environ.get("OXHERD_PICTURES") or tmp_path) / "dashboards"
    folder.mkdir(exist_ok=True)
    draw(DASHBOARDS[uid], world.results[uid], folder / f"{uid}.png")
    assert (folder / f"{uid}.png").stat().st_size > 20_000


PAGES = {
    "page": (1200, "light", "en-US"),
    "page-dark": (1200, "dark", "id-ID"),
    "page-phone": (390, "light", "en-US"),
    "page-phone-dark": (390, "dark", "id-ID"),
}
"""The pictures of docs/page.md: width in pixels, colours, language."""


def test_the_page_is_drawn(world: World, tmp_path: Path) -> None:
    folder = Path(os.environ.get("OXHERD_PICTURES") or tmp_path)
    dead = world.prometheus.series("redis_up == 0", instant=True)[0][0]["node"]
    critical = 'ALERTS{alertstate="firing", severity="critical"}'
    wait_until(
        lambda: not world.prometheus.series(critical, instant=True),
        what="no more than the node that is down",
        seconds=120,
    )
    with sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=find_program("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        for name, (width, scheme, locale) in PAGES.items():
            page = chromium.new_page(
                viewport={"width": width, "height": 900},
                color_scheme=scheme,  # type: ignore[arg-type]
                locale=locale,
            )
            page.goto(world.page)
            assert dead in page.locator("#state").inner_text()
            page.screenshot(path=folder / f"{name}.png", full_page=True)
        chromium.close()
