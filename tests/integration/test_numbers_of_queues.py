"""More queues than anybody meant, names that nobody would choose, and names without a queue."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from bench.programs import Program
from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.deadline import wait_until
from lab.redis import RedisServer, start_redis
from tests.support.crowds import make_queues, remove_queues
from tests.support.scrapes import Values, get, scrape

MONITOR = Path(sys.executable).with_name("monitor")
TIMEOUT = 10.0
MEMORY = 512 << 20


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with start_redis() as server:
        yield server


@contextmanager
def running(server: RedisServer, **bullmq: object) -> Iterator[str]:
    """The URL of an exporter in this process, which looks often."""
    often = {"discovery_interval_seconds": 1, "rescan_interval_seconds": 1}
    settings = {"listen": "127.0.0.1:0", "redis": {"url": server.url}, "bullmq": often | bullmq}
    exporter = Exporter(ExporterSettings.model_validate(settings))
    exporter.start()
    try:
        yield f"http://{exporter.address}"
    finally:
        assert exporter.stop()


@contextmanager
def program(server: RedisServer, folder: Path, **bullmq: object) -> Iterator[tuple[str, psutil.Process]]:
    """An exporter of its own, whose memory is measured; the first search has ended."""
    settings = {"redis": {"url": server.url}, "bullmq": {"rescan_interval_seconds": 1, **bullmq}}
    started = Program("exporter", settings, folder)
    try:
        url = f"http://{started.address}"
        started.process.wait_for(lambda: _searched(url), seconds=120)
        yield url, psutil.Process(started.process.pid)
    finally:
        started.stop(seconds=20)


def _searched(url: str) -> bool:
    try:
        text = httpx.get(f"{url}/metrics", timeout=TIMEOUT, trust_env=False).text
    except httpx.TransportError:
        return False
    return re.search(r"^bullmq_queues \d", text, re.MULTILINE) is not None


def _has_queues(url: str, count: int) -> bool:
    return get(scrape(url, seconds=TIMEOUT), "bullmq_queues") == count


def left_out(values: Values, reason: str = "max_queues") -> float | None:
    return get(values, "bullmq_queues_left_out", reason=reason)


def issues(values: Values) -> set[str]:
    return {
        dict(labels)["issue"] for (name, labels), value in values.items() if name == "oxherd_issue" and value
    }


@pytest.mark.fault
@pytest.mark.long
@pytest.mark.timeout(400)
def test_fifty_thousand_queues_leave_the_scrape_its_time_and_the_rest_its_monitoring(
    server: RedisServer, tmp_path: Path
) -> None:
    customers = [f"customer-{number}" for number in range(50_000)]
    make_queues(server, ["mail", *customers])
    with program(server, tmp_path, queues=["mail", "customer-*"]) as (url, process):
        took = []
        for _ in range(5):
            started = time.monotonic()
            answer = httpx.get(
                f"{url}/metrics",
                headers={"x-prometheus-scrape-timeout-seconds": f"{TIMEOUT:g}", "accept-encoding": "gzip"},
                timeout=TIMEOUT,
                trust_env=False,
            )
            took.append(time.monotonic() - started)
            assert answer.status_code == 200
            time.sleep(1)
        values = scrape(url, seconds=TIMEOUT)
        assert max(took) < TIMEOUT - 2, took
        assert get(values, "bullmq_queues") == 12_000
        assert left_out(values) == 38_001
        assert "queues_left_out" in issues(values)
        assert get(values, "bullmq_job_count", prefix="bull", queue="mail", state="waiting") == 1
        for source in ("redis", "bullmq", "host", "process"):
            assert get(values, "oxherd_collect_success", source=source) == 1, source
        assert get(values, "redis_up", node=server.address) == 1
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        assert httpx.get(f"{url}/healthz", timeout=1, trust_env=False).status_code == 200
        peak = _peak(process)
        assert peak < MEMORY, f"{peak >> 20} MB"
        # Those that end make room.
        remove_queues(server, customers[:45_000])
        wait_until(
            lambda: get(scrape(url, seconds=TIMEOUT), "bullmq_queues") == 5_001,
            what="the others have places",
            seconds=120,
            every=2,
        )
        assert left_out(scrape(url, seconds=TIMEOUT)) == 0


def _peak(process: psutil.Process) -> int:
    """The most memory that it ever had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


@pytest.mark.fault
@pytest.mark.timeout(60)
def test_more_queues_than_are_watched_are_told_by_all_views(server: RedisServer) -> None:
    make_queues(server, ["mail", *(f"customer-{number}" for number in range(30))])
    with running(server, max_queues=10, queues=["mail", "*"]) as url:
        wait_until(lambda: left_out(scrape(url)) == 21, what="the search has ended", seconds=20)
        values = scrape(url)
        assert get(values, "bullmq_queues") == 10
        assert get(values, "bullmq_job_count", prefix="bull", queue="mail", state="waiting") == 1
        assert get(values, "oxherd_issue", issue="queues_left_out", source="bullmq", severity="medium") == 1
        view = httpx.get(f"{url}/status.json").json()
        [left] = view["queues"]["search"]["left_out"]
        assert (left["reason"], left["count"], left["at_least"]) == ("max_queues", 21, False)
        assert {queue["name"][:9] for queue in left["first"]} == {"customer-"}
        assert "21 not watched" in httpx.get(url, headers={"accept": "text/html"}).text
        done = subprocess.run(
            [str(MONITOR), "queues", "--url", url], check=False, capture_output=True, text=True, timeout=30
        )
        assert "10 queues" in done.stdout
        assert "21 queues are not watched, as there are more than 10 (bullmq.max_queues)" in done.stdout
        assert "divide them between several exporters (--shard)" in " ".join(done.stdout.split())


@pytest.mark.fault
@pytest.mark.timeout(60)
def test_who_may_only_name_his_connection_makes_no_queue(server: RedisServer) -> None:
    server.cli("acl", "setuser", "guest", "on", ">x", "-@all", "+client|setname")
    make_queues(server, ["mail"])
    with ExitStack() as undo:
        for number in range(500):
            connection = socket.create_connection((server.host, server.port))
            undo.enter_context(connection)
            connection.sendall(b"AUTH guest x\r\nCLIENT SETNAME bull:<script>%d\r\n" % number)
        for prefixes in ([], ["bull"]):
            with running(server, prefixes=prefixes) as url:
                wait_until(partial(_has_queues, url, 1), what="mail", seconds=20)
                time.sleep(3)  # three rounds
                values = scrape(url)
                assert get(values, "bullmq_queues") == 1
                assert {dict(labels).get("queue") for _, labels in values} == {None, "mail"}


HOSTILE = (
    'quote"-{}',
    "back\\slash-\\n-{}",
    "line\nbreak-{}",
    "carriage\r-{}",
    "brace}}{{-{}",
    "<script>alert({})</script>",
    "bidi-\u202e\u2066-{}",
    "c1-\x9b31m-{}",
    "escape-\x1b[2J-{}",
    "nul-\0-{}",
    "tab\t-{}",
    "latin-\udce9\udcff-{}",  # not UTF-8
    "long-" + "x" * 400 + "-{}",
    "too-long-" + "y" * 4096 + "-{}",
    "# HELP x-{}",
    "{}",
    " {} ",
    "$(touch x)-{}",
    "漢字-{}",
    "%s%n{}",
)
UNWATCHED = sum(len(name) > 500 for name in HOSTILE)


@pytest.mark.fault
@pytest.mark.long
@pytest.mark.timeout(400)
def test_ten_thousand_queues_with_hostile_names_break_nothing(server: RedisServer, tmp_path: Path) -> None:
    names = [pattern.format(number) for number in range(500) for pattern in HOSTILE]
    make_queues(server, names)
    fit = 500 * (len(HOSTILE) - UNWATCHED)
    with program(server, tmp_path) as (url, process):
        values = scrape(url, seconds=TIMEOUT)
        assert get(values, "bullmq_queues") == fit
        assert left_out(values, "name_length") == 500 * UNWATCHED
        answer = httpx.get(
            f"{url}/metrics",
            headers={"accept": "application/openmetrics-text; version=1.0.0"},
            timeout=TIMEOUT,
            trust_env=False,
        )
        families = parse_openmetrics(answer.text)  # type: ignore[no-untyped-call]
        assert sum(family.name == "bullmq_queues" for family in families) == 1
        seen = {dict(labels).get("queue") for _, labels in values} - {None, ""}
        assert len(seen) == fit, "no two became the same"
        view = httpx.get(f"{url}/status.json", timeout=30, trust_env=False)
        assert len(json.loads(view.text)["queues"]["queues"]) == fit
        for page in ("/", "/?page=3", "/?q=%3Cscript%3E", "/?sort=name", "/?q=%22"):
            html = httpx.get(f"{url}{page}", headers={"accept": "text/html"}, timeout=30, trust_env=False)
            assert html.status_code == 200
            assert "<script>alert" not in html.text
            assert not _controls(html.text)
        for command in ("status", "health", "redis", "queues"):
            output = _command(command, url)
            assert not _controls(output), command
            if command == "queues":
                assert len(output.splitlines()) > fit
        assert process.memory_info().rss < MEMORY
    assert not _controls((tmp_path / "exporter.log").read_text(errors="replace"))


def _controls(text: str) -> set[str]:
    """What moves a terminal or turns a text around, other than the end of a line."""
    return set(re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text))


def _command(name: str, url: str) -> str:
    environ = {**os.environ, "LANG": "en_US.UTF-8", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [str(MONITOR), name, "--url", url],
        check=False,
        capture_output=True,
        text=True,
        env=environ,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done.stdout


def test_the_text_of_a_scrape_is_the_same_packed_or_not(server: RedisServer) -> None:
    """Parts are kept compressed: a name of the longest kind comes through both ways."""
    make_queues(server, ["x" * 500])
    with running(server) as url:
        wait_until(lambda: get(scrape(url), "bullmq_queues") == 1, what="the queue", seconds=20)
        packed = httpx.get(f"{url}/metrics", headers={"accept-encoding": "gzip"})
        plain = httpx.get(f"{url}/metrics", headers={"accept-encoding": "identity"})
        assert packed.headers["content-encoding"] == "gzip"
        for text in (packed.text, plain.text):
            names = {
                sample.labels["queue"]
                for family in parse_text(text)
                for sample in family.samples
                if "queue" in sample.labels
            }
            assert names == {"x" * 500}
