"""The whole exporter in process, on a free port, against real servers."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.config.redis import RedisSettings
from exporter.config.settings import ExporterSettings, MonitoringSettings
from exporter.redis.preflight import PreflightError
from exporter.run import Exporter
from lab.cluster import LocalCluster
from lab.deadline import wait_until
from lab.ports import free_port
from lab.redis import RedisServer, start_redis
from service.web.server import BindError
from tests.support.scrapes import Values, get, scrape

MONITOR = Path(sys.executable).with_name("monitor")


@contextmanager
def running(settings: ExporterSettings) -> Iterator[str]:
    """The URL of an exporter with these settings, wherever they say it should listen."""
    exporter = Exporter(settings.model_copy(update={"listen": "127.0.0.1:0"}))
    exporter.start()
    try:
        yield f"http://{exporter.address}"
    finally:
        assert exporter.stop()


def redis_at(*servers: RedisServer) -> ExporterSettings:
    return ExporterSettings(redis=RedisSettings(cluster=tuple(server.address for server in servers)))


def alone(server: RedisServer) -> ExporterSettings:
    return ExporterSettings.model_validate({"redis": {"url": server.url}})


def up(values: Values) -> dict[str, float]:
    return {dict(labels)["node"]: value for (name, labels), value in values.items() if name == "redis_up"}


def is_ready(url: str) -> bool:
    return httpx.get(f"{url}/readyz").status_code == 200


def test_both_formats_are_what_they_say(redis_server: RedisServer) -> None:
    with running(alone(redis_server)) as url:
        searched = "bullmq_queues "  # there once queues were looked for
        wait_until(lambda: searched in httpx.get(f"{url}/metrics").text, what="the search")
        text = httpx.get(f"{url}/metrics")
        assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        named = {family.name for family in parse_text(text.text)}
        accept = {"accept": "application/openmetrics-text;version=1.0.0", "accept-encoding": "gzip"}
        answer = httpx.get(f"{url}/metrics", headers=accept)
        assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.text.count("# EOF") == 1
        assert answer.text.endswith("# EOF\n")
        parsed = parse_openmetrics(answer.text)  # type: ignore[no-untyped-call]
        also = {family.name for family in parsed}
    assert {
        "redis_up",
        "oxherd_health_score",
        "process_resident_memory_bytes",
        "oxherd_monitoring_enabled",
        "oxherd_background_task_up",
    } <= named
    assert {name.removesuffix("_total") for name in named} == also


@pytest.mark.fault
def test_ready_after_the_first_collection_whether_or_not_redis_is_up(redis_server: RedisServer) -> None:
    nobody = ExporterSettings.model_validate({"redis": {"url": f"redis://127.0.0.1:{free_port()}"}})
    for settings in (alone(redis_server), nobody):
        with running(settings) as url:
            wait_until(partial(is_ready, url), what="it is ready")
            assert httpx.get(f"{url}/healthz").status_code == 200


@pytest.mark.fault
def test_redis_that_comes_later() -> None:
    port = free_port()
    with running(ExporterSettings.model_validate({"redis": {"url": f"redis://127.0.0.1:{port}"}})) as url:
        node = f"127.0.0.1:{port}"
        assert up(scrape(url)) == {node: 0}
        with start_redis(port=port) as server:
            wait_until(lambda: up(scrape(url)) == {node: 1}, what="Redis is seen")
            server.stop()
            wait_until(lambda: up(scrape(url)) == {node: 0}, what="Redis is missed")
            server.restart()
            wait_until(lambda: up(scrape(url)) == {node: 1}, what="Redis is seen again")


@pytest.mark.fault
def test_a_node_that_hangs(fresh_cluster: LocalCluster) -> None:
    cluster = fresh_cluster
    with running(redis_at(*cluster.nodes[:2])) as url:
        assert up(scrape(url)) == dict.fromkeys(cluster.addresses, 1)
        victim = cluster.nodes[1]
        victim.suspend()
        began = time.monotonic()
        values = scrape(url, seconds=1.5)
        took = time.monotonic() - began
        assert up(values) == {node: float(node != victim.address) for node in cluster.addresses}
        assert took < 1.5
        others = {node for node in cluster.addresses if node != victim.address}
        assert {dict(labels)["node"] for name, labels in values if name[0:10] == "redis_memo"} == others
        assert httpx.get(f"{url}/healthz", timeout=1).status_code == 200
        victim.resume()
        wait_until(lambda: all(up(scrape(url)).values()), what="the node is seen again")


def test_scrapes_at_the_same_time_share_a_run(redis_server: RedisServer) -> None:
    name = "cmdstat_slowlog|len"
    with running(alone(redis_server)) as url:
        scrape(url)
        before = redis_server.facts("info", "commandstats").get(name, "calls=0")
        barrier = threading.Barrier(8)

        def one(_: int) -> Values:
            barrier.wait()
            return scrape(url)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(one, range(8)))
        after = redis_server.facts("info", "commandstats").get(name, "calls=0")
    assert all(up(values) == {redis_server.address: 1} for values in answers)
    assert 1 <= _calls(after) - _calls(before) < 8


def _calls(row: str) -> int:
    return int(row.partition("calls=")[2].partition(",")[0])


def test_switched_off(redis_server: RedisServer) -> None:
    off = alone(redis_server).model_copy(update={"monitoring": MonitoringSettings(enabled=False)})
    before = redis_server.facts("info", "stats")["total_connections_received"]
    with running(off) as url:
        values = scrape(url)
        assert get(values, "oxherd_monitoring_enabled") == 0
        assert not [name for name, _ in values if name.startswith(("redis_", "bullmq_", "host_"))]
        assert get(values, "oxherd_health_score") is None
        assert [labels for name, labels in values if name == "oxherd_build_info"]
        assert httpx.get(f"{url}/readyz").status_code == 200
        assert "Monitoring is switched off" in httpx.get(url).text
        view = httpx.get(f"{url}/status.json").json()
        assert (view["monitoring"], view["health"]) == (False, None)
    after = redis_server.facts("info", "stats")["total_connections_received"]
    assert int(after) - int(before) == 1  # ours, to ask


def test_refused_at_the_start() -> None:
    with start_redis(password="right") as server:
        wrong = RedisSettings.model_validate({"url": f"redis://:wrong@{server.address}"})
        exporter = Exporter(ExporterSettings(listen="127.0.0.1:0", redis=wrong))
        with pytest.raises(PreflightError) as caught:
            exporter.start()
        assert (caught.value.address, caught.value.kind) == (server.address, "auth")
        with running(alone(server)) as url:
            assert up(scrape(url)) == {server.address: 1}


def test_a_password_that_is_changed_while_it_runs(caplog: pytest.LogCaptureFixture) -> None:
    with start_redis(password="hunter2") as server, running(alone(server)) as url:
        assert up(scrape(url)) == {server.address: 1}
        server.cli("config", "set", "requirepass", "other")
        server.password = "other"
        server.cli("client", "kill", "type", "normal", "skipme", "yes")
        wait_until(lambda: up(scrape(url)) == {server.address: 0}, what="it is refused")
        shown = [httpx.get(url + path).text for path in ("/", "/status.json", "/metrics")]
        assert "user name or password refused" in shown[1]
        assert not [text for text in (*shown, caplog.text) if "hunter2" in text]
        server.cli("config", "set", "requirepass", "hunter2")
        server.password = "hunter2"
        wait_until(lambda: up(scrape(url)) == {server.address: 1}, what="it is let in again")


def test_the_address_is_taken(redis_server: RedisServer) -> None:
    exporter = Exporter(alone(redis_server).model_copy(update={"listen": redis_server.address}))
    with pytest.raises(BindError, match="already in use"):
        exporter.start()
    assert exporter.stop()


def test_all_addresses_and_ipv6(redis_server: RedisServer) -> None:
    for listen in ("[::1]:0", ":0", "[::]:0"):
        exporter = Exporter(alone(redis_server).model_copy(update={"listen": listen}))
        exporter.start()
        port = exporter.address.rpartition(":")[2]
        hosts = {"[::1]:0": ["[::1]"], ":0": ["127.0.0.1"], "[::]:0": ["[::1]", "127.0.0.1"]}[listen]
        assert [httpx.get(f"http://{host}:{port}/healthz").status_code for host in hosts] == [200] * len(
            hosts
        )
        assert exporter.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process(redis_server: RedisServer, tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    command = [str(MONITOR), "start", "--listen", f"127.0.0.1:{port}"]
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=stream,
            env={"REDIS_URL": redis_server.url, "LOG_FORMAT": "json", "REDIS_PASWORD": "hunter2"},
        )
    try:
        wait_until(lambda: '"listening"' in log.read_text(), what="it listens")
        assert up(scrape(f"http://127.0.0.1:{port}")) == {redis_server.address: 1}
        process.send_signal(signal.SIGUSR1)
        process.send_signal(number)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    written = log.read_text()
    assert f'"signal": "{number.name}"' in written
    assert '"event": "stopped"' in written
    assert '"variable": "REDIS_PASWORD", "meant": "REDIS_PASSWORD"' in written
    assert "hunter2" not in written
    assert "Current thread" in written  # the stacks that SIGUSR1 asks for


def test_it_stops_though_a_node_hangs(fresh_redis: RedisServer) -> None:
    exporter = Exporter(alone(fresh_redis).model_copy(update={"listen": "127.0.0.1:0"}))
    exporter.start()
    url = f"http://{exporter.address}"
    wait_until(partial(is_ready, url), what="it is ready")
    fresh_redis.suspend()
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(scrape, url, seconds=3)
        began = time.monotonic()
        assert exporter.stop()
        assert time.monotonic() - began < 6
        assert late.exception() or up(late.result()) == {fresh_redis.address: 0}


def test_no_thread_is_left(redis_server: RedisServer) -> None:
    before = set(threading.enumerate())
    with running(alone(redis_server)) as url:
        scrape(url)
        names = {thread.name for thread in set(threading.enumerate()) - before}
        assert {"http", "discovery", "assessment"} <= names
    wait_until(lambda: not _ours(before), what="no thread of ours is left")


def _ours(before: set[threading.Thread]) -> list[str]:
    """Threads that have come since, but for AnyIO's pool, whose idle threads end by themselves."""
    since = set(threading.enumerate()) - before
    return [thread.name for thread in since if not thread.name.startswith("AnyIO")]
