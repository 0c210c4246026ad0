"""Each resource is taken from a running exporter and a running scaler for a while: then all is as before.

The limits are those of the process, set from outside while it runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.deadline import wait_until
from lab.ports import free_port
from lab.redis import RedisServer
from tests.support.fake_prometheus import FakePrometheus
from tests.support.no_threads import no_threads
from tests.support.scrapes import Values, get, scrape
from tests.support.starving import MAY_SWITCH, RESOURCES, folder_of_its_user, limit, started, starved

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]  # 6 s without, and a start, each

SECONDS = 6.0
RECOVERY = 60.0
WORKERS = 3


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_of_its_user() as made:
        yield made


def ready(url: str) -> list[str]:
    """What /readyz says is missing."""
    return list(httpx.get(f"{url}/readyz", timeout=2).json()["reasons"])


def scraped(url: str) -> Values:
    """Nothing where it is not answered."""
    with suppress(httpx.HTTPError, AssertionError, ValueError):
        return scrape(url, seconds=3)
    return {}


def named(values: Values, name: str) -> dict[str, float]:
    return {
        "/".join(value for _, value in labels): value
        for (found, labels), value in values.items()
        if found == name
    }


def all_is_well(url: str) -> bool:
    """All sources read, Redis up, every background thread alive, ready."""
    values = scraped(url)
    try:
        reasons = ready(url)
    except (httpx.HTTPError, ValueError):
        return False
    success, alive = named(values, "oxherd_collect_success"), named(values, "oxherd_background_task_up")
    return (
        {"redis", "bullmq", "host"} <= success.keys()
        and all(success.values())
        and len(alive) > 5
        and all(alive.values())
        and all(named(values, "redis_up").values())
        and not reasons
    )


@pytest.mark.parametrize("resource", RESOURCES)
def test_an_exporter_recovers_from_a_time_without(
    fresh_redis: RedisServer, folder: Path, resource: str
) -> None:
    for command in ("hset bull:mail:meta version bullmq:5", "lpush bull:mail:wait 1 2", "set bull:mail:id 2"):
        fresh_redis.cli(*command.split())
    url = f"http://127.0.0.1:{(port := free_port())}"
    environ = {
        "REDIS_URL": fresh_redis.url,
        "BULLMQ_QUEUES": "mail",
        "BULLMQ_STATE_FILE": str(folder / "state"),
        "EXPORTER_LISTEN": f"127.0.0.1:{port}",
    }
    log = folder / "log"
    with started("exporter", "start", log=log, environ=environ) as program:
        wait_until(lambda: all_is_well(url), what="it runs", seconds=30)
        threads, descriptors = program.num_threads(), program.num_fds()
        with starved(program, resource):
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                fresh_redis.cli("client", "kill", "type", "normal")
                fresh_redis.cli("xadd", "bull:mail:events", "*", "event", "added", "jobId", "1")
                scraped(url)
                time.sleep(0.3)
        wait_until(lambda: all_is_well(url), what="all is as before", seconds=RECOVERY)
        assert program.num_threads() < threads + 20
        assert program.num_fds() < descriptors + 20
        fresh_redis.cli("lpush", "bull:mail:wait", "3")
        wait_until(
            lambda: get(scraped(url), "bullmq_job_count", prefix="bull", queue="mail", state="waiting") == 3,
            what="the queue is counted",
        )


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_scaler_recovers_from_a_time_without(folder: Path, resource: str) -> None:
    with FakePrometheus(waiting=lambda _: 40) as prometheus:
        config = scaler_config(folder, prometheus.url)
        url = f"http://{config['listen']}"
        path = folder / "scaler.yml"
        path.write_text(yaml.safe_dump(config))
        # As another user it may not be able to start workers: by a Python that is root's.
        as_user = MAY_SWITCH and resource == "threads"
        have = 0 if as_user else WORKERS
        log = folder / "log"
        with started(
            "scaler", "start", "--config", str(path), log=log, environ={}, as_user=as_user
        ) as program:
            wait_until(
                lambda: stepping(url, 3) and len(workers(program)) >= have, what="it scales", seconds=30
            )
            threads, descriptors = program.num_threads(), program.num_fds()
            with starved(program, resource):
                until = time.monotonic() + SECONDS
                for worker in workers(program)[:1]:
                    worker.kill()
                while time.monotonic() < until:
                    scraped(url)
                    time.sleep(0.3)
            steps = steps_of(url)
            wait_until(
                lambda: stepping(url, steps + 3) and ready(url) == [] and len(workers(program)) >= have,
                what="it goes on with all its workers",
                seconds=RECOVERY,
            )
            assert program.num_threads() < threads + 20
            assert program.num_fds() < descriptors + 20
        prometheus.shutdown()


def scaler_config(folder: Path, prometheus: str) -> dict[str, Any]:
    processes = {"command": ["sleep", "1000"], "grace_seconds": 1, "ready_seconds": 0.1}
    target = {"policy": "threshold", "min_workers": 1, "max_workers": WORKERS, "processes": processes}
    return {
        "listen": f"127.0.0.1:{free_port()}",
        "interval_seconds": 1,
        "state_file": str(folder / "state.json"),
        "prometheus": {"urls": [prometheus], "timeout_seconds": 1},
        "targets": [{"name": "mail", "queues": ["mail"]} | target],
    }


def workers(program: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in program.children(recursive=True):
        with suppress(psutil.Error):
            if child.name() == "sleep":
                found.append(child)
    return found


def steps_of(url: str) -> float:
    """Steps so far; 0 where it does not answer."""
    return sum(named(scraped(url), "oxherd_scaler_steps_total").values())


def stepping(url: str, least: float) -> bool:
    return steps_of(url) >= least


def test_an_exporter_that_starts_with_room_for_few_threads_says_so_and_has_all_when_there_is_room(
    redis_server: RedisServer,
) -> None:
    settings = ExporterSettings.model_validate(
        {"redis": {"url": redis_server.url}, "listen": "127.0.0.1:0", "bullmq": {"queues": ["mail"]}}
    )
    exporter = Exporter(settings)
    with no_threads(lambda name: name not in ("http", "watch") and "AnyIO" not in name):
        exporter.start()
        url = f"http://{exporter.address}"
        try:
            wait_until(lambda: bool(ready(url)), what="it answers")
            reasons = ready(url)
            assert "background thread discovery is not running" in reasons
            assert "background thread watch is not running" not in reasons
            assert named(scrape(url), "oxherd_collect_success").keys() >= {"redis", "host"}
            assert not any(named(scrape(url), "oxherd_collect_success").values())
            assert "no room for a thread to read redis" in ready(url)
        except BaseException:
            exporter.stop()
            raise
    wait_until(lambda: all_is_well(url), what="all is there", seconds=20)
    assert exporter.stop()


def test_an_exporter_that_the_system_gives_few_threads_has_all_when_it_gives_more(
    fresh_redis: RedisServer, folder: Path
) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    environ = {"REDIS_URL": fresh_redis.url, "EXPORTER_LISTEN": f"127.0.0.1:{port}"}
    limits = ["--nproc=5:"] if MAY_SWITCH else []  # it counts all processes of a user
    with started("exporter", "start", log=folder / "log", environ=environ, limits=limits) as program:

        def answers() -> bool:
            with suppress(httpx.HTTPError):
                return bool(ready(url))
            return False

        wait_until(answers, what="it says what is missing", seconds=30)
        limit(program, "threads", "1000:")
        wait_until(lambda: all_is_well(url), what="all is there", seconds=RECOVERY)
