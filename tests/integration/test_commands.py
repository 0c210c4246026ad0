"""`monitor status`, `health`, `redis` and `queues`: with a running exporter, and alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.cluster import LocalCluster
from lab.ports import free_port
from lab.redis import RedisServer
from tests.support.acl import READER, rules

pytestmark = pytest.mark.timeout(120)  # 4 s alone, 30 s on a busy machine: commands as processes

MONITOR = Path(sys.executable).with_name("monitor")
COMMANDS = ("status", "health", "redis", "queues")
SETTINGS = ("REDIS_", "BULLMQ_", "EXPORTER_", "MONITORING_", "ENABLE_", "LOG_")


def monitor(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    return subprocess.run(
        [str(MONITOR), *arguments], env=own | environ, check=False, capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module")
def exporter(redis_cluster: LocalCluster) -> Iterator[str]:
    """The URL of an exporter that watches the cluster, which has a queue."""
    redis_cluster.cli("hset", "bull:{done}:meta", "opts.maxLenEvents", "10000")
    redis_cluster.cli("zadd", "bull:{done}:completed", "1", "1")
    settings = ExporterSettings.model_validate(
        {
            "listen": "127.0.0.1:0",
            "redis": {"url": redis_cluster.nodes[0].url},
            "health": {"thresholds": {"host_load_per_core": 1000}},
        }
    )
    exporter = Exporter(settings)
    exporter.start()
    yield f"http://{exporter.address}"
    assert exporter.stop()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_running_exporter_is_asked(exporter: str, command: str) -> None:
    for done in (monitor(command, "--url", exporter), monitor(command, EXPORTER_URL=exporter)):
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout
        assert "\x1b" not in done.stdout  # not a terminal
    done = monitor(command, "--url", exporter, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert isinstance(json.loads(done.stdout), dict)


def test_nodes(exporter: str, redis_cluster: LocalCluster) -> None:
    nodes = json.loads(monitor("redis", "--url", exporter, "--json").stdout)["nodes"]
    assert {node["address"] for node in nodes} == set(redis_cluster.addresses)
    assert sorted(node["role"] for node in nodes) == ["master"] * 3 + ["replica"] * 3
    output = monitor("redis", "--url", exporter).stdout
    assert all(address in output for address in redis_cluster.addresses)
    assert "cluster, 6 of 6 nodes up, 16,384 of 16,384 slots covered" in output


@pytest.mark.parametrize("command", COMMANDS)
def test_without_an_exporter_it_looks_by_itself(redis_server: RedisServer, command: str) -> None:
    port = free_port()
    own = {"REDIS_URL": redis_server.url, "EXPORTER_LISTEN": f"127.0.0.1:{port}"}
    done = monitor(command, **own)
    assert done.stdout
    assert done.stderr == f"monitor: no exporter at http://127.0.0.1:{port}; collecting locally instead\n"
    local = monitor(command, "--local", "--json", **own)
    assert local.stderr == ""
    assert json.loads(local.stdout)


def test_exit_codes_alone(fresh_redis: RedisServer) -> None:
    own = {"REDIS_URL": fresh_redis.url}
    fresh_redis.wait()
    assert monitor("queues", "--local", **own).returncode == 1  # no queue was found
    fresh_redis.cli("hset", "bull:done:meta", "opts.maxLenEvents", "10000")
    fresh_redis.cli("zadd", "bull:done:completed", "1", "1")
    assert monitor("redis", "--local", **own).returncode == 0
    fresh_redis.cli("config", "set", "maxmemory", "1mb")
    fresh_redis.cli("config", "set", "maxmemory-policy", "noeviction")
    done = monitor("redis", "--local", **own)
    assert (done.returncode, done.stderr) == (1, "")
    assert monitor("queues", "--local", **own).returncode == 0
    fresh_redis.kill()
    for command in COMMANDS:
        assert monitor(command, "--local", **own).returncode == 2
    assert "down" in monitor("redis", "--local", **own).stdout


def test_one_look_at_a_queue_that_nobody_works_on(fresh_redis: RedisServer) -> None:
    fresh_redis.wait()
    fresh_redis.cli("hset", "bull:mail:meta", "opts.maxLenEvents", "10000")
    fresh_redis.cli("lpush", "bull:mail:wait", "1")
    own = {"REDIS_URL": fresh_redis.url}
    for age, code in ((300, 0), (700, 2)):
        fresh_redis.cli("hset", "bull:mail:1", "timestamp", str(int((time.time() - age) * 1000)))
        done = monitor("queues", "--local", **own)
        assert (done.returncode, "Jobs wait and nothing takes them" in done.stdout) == (code, code == 2)


def test_an_exporter_that_is_asked_for_by_name_must_be_there(redis_server: RedisServer) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    done = monitor("status", "--url", gone)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"monitor: no exporter at {gone}\n")
    other = f"http://{redis_server.address}"
    done = monitor("status", "--url", other)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"monitor: {other}")


def test_watch_until_interrupted(exporter: str) -> None:
    process = subprocess.Popen(
        [str(MONITOR), "health", "--url", exporter, "--watch", "0.1", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(3)]
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=10)
    assert all(json.loads(line)["score"] == 100 for line in lines)
    assert errors == ""


def test_queues_that_cannot_be_read_are_no_empty_list(fresh_redis: RedisServer) -> None:
    """With the shipped access list, which has another prefix than the queues."""
    fresh_redis.wait()
    fresh_redis.cli("acl", "setuser", *rules(version=fresh_redis.facts("info", "server")["redis_version"]))
    fresh_redis.cli("hset", "jobs:mail:meta", "opts.maxLenEvents", "10000")
    fresh_redis.cli("rpush", "jobs:mail:wait", "1")
    user = {
        "REDIS_URL": fresh_redis.url,
        "REDIS_USERNAME": str(READER["username"]),
        "REDIS_PASSWORD": str(READER["password"]),
    }
    for prefixes in ("jobs", ""):
        done = monitor("queues", "--local", **user, BULLMQ_PREFIXES=prefixes)
        assert done.returncode == 2, done.stdout
        assert "NOPERM" in done.stdout
        status = monitor("status", "--local", **user, BULLMQ_PREFIXES=prefixes)
        assert status.returncode in (1, 2)  # the load of this host is an issue of its own
        assert "NOPERM" in status.stdout
