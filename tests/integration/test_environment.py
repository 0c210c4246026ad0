"""The environment as people have it: the names of other programs, unix sockets, Kubernetes' own variables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.deadline import wait_until
from lab.ports import free_port
from lab.redis import RedisServer, start_redis

pytestmark = pytest.mark.timeout(120)  # 6 s alone: commands as processes

BIN = Path(sys.executable).parent
OWN = ("REDIS_", "BULLMQ_", "EXPORTER_", "SCALER_", "SCALING_", "MONITORING_", "ENABLE_", "LOG_", "CRON_")
PASSWORD = "the-password-of-tests"


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    return own | dict(settings)


def run(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    program, *arguments = command
    return subprocess.run(
        [str(BIN / program), *arguments],
        env=environment(settings),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def nodes(**settings: str) -> list[dict[str, Any]]:
    """What `monitor redis` sees by itself."""
    done = run("monitor", "redis", "--local", "--json", **settings)
    assert done.stderr == ""
    found: list[dict[str, Any]] = json.loads(done.stdout)["nodes"]
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """With a password, a user, a unix socket, and a queue in database 1."""
    socket = tmp_path_factory.mktemp("run") / "redis.sock"
    config = [f"unixsocket {socket}", f"user ada on >{PASSWORD} ~* &* +@all"]
    with start_redis(password=PASSWORD, config=config) as server:
        for command in (
            "hset bull:mail:meta version bullmq:5",
            "lpush bull:mail:wait 1 2",
            "set bull:mail:id 2",
        ):
            server.cli("-n", "1", *command.split())
        yield server


def socket_of(server: RedisServer) -> str:
    return server.cli("config", "get", "unixsocket").splitlines()[1]


@pytest.mark.parametrize("form", ["unix://:{}@{}?db=1", "redis+unix://ada:{}@{}?db=1"])
def test_a_unix_socket_by_url(server: RedisServer, form: str) -> None:
    path = socket_of(server)
    settings = {"REDIS_URL": form.format(PASSWORD, path)}
    [node] = nodes(**settings)
    assert (node["address"], node["up"], node["role"]) == (path, True, "master")
    [queue] = json.loads(run("monitor", "queues", "--local", "--json", **settings).stdout)["queues"]
    assert (queue["name"], queue["waiting"]) == ("mail", 2)
    exposed = run("monitor", "status", "--local", **settings).stdout
    assert PASSWORD not in exposed


def test_a_unix_socket_by_host(server: RedisServer) -> None:
    [node] = nodes(REDIS_HOST=socket_of(server), REDIS_PASSWORD=PASSWORD, REDIS_PORT="1")
    assert (node["address"], node["up"]) == (socket_of(server), True)


def test_a_socket_that_is_gone(server: RedisServer, tmp_path: Path) -> None:
    [node] = nodes(REDIS_URL=f"unix://{tmp_path}/no.sock")
    assert (node["up"], node["why"]) == (False, "No such file or directory")
    health = run("monitor", "health", "--local", REDIS_URL=f"unix://{tmp_path}/no.sock").stdout
    assert f"redis-cli -s {tmp_path}/no.sock" in " ".join(health.split())


def test_a_cluster_that_is_reached_by_a_socket(tmp_path: Path) -> None:
    config = [f"unixsocket {tmp_path}/c.sock", "cluster-enabled yes"]
    with start_redis(config=config) as server:
        server.cli("cluster", "addslotsrange", "0", "16383")
        wait_until(lambda: "cluster_state:ok" in server.cli("cluster", "info"), what="the cluster is up")
        [node] = nodes(REDIS_URL=f"unix://{tmp_path}/c.sock")
        assert (node["up"], node["role"]) == (True, "master")


def test_host_port_user_and_database(server: RedisServer) -> None:
    settings = {
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(server.port),
        "REDIS_USERNAME": "ada",
        "REDIS_PASSWORD": PASSWORD,
        "REDIS_DB": "1",
    }
    assert [node["address"] for node in nodes(**settings)] == [server.address]
    done = run("monitor", "queues", "--local", "--json", **settings)
    assert [queue["name"] for queue in json.loads(done.stdout)["queues"]] == ["mail"]
    other = run("monitor", "queues", "--local", "--json", **settings | {"REDIS_DB": "0"})
    assert json.loads(other.stdout)["queues"] == []


def test_a_host_that_is_an_ipv6_address() -> None:
    with start_redis(config=["bind 127.0.0.1 ::1"]) as server:
        port = str(server.port)
        [node] = nodes(REDIS_HOST="::1", REDIS_PORT=port)
        assert (node["address"], node["up"]) == (f"[::1]:{port}", True)
        assert nodes(REDIS_HOST=f"[::1]:{port}")[0]["up"]


def test_a_host_that_is_any_node_of_a_cluster() -> None:
    """With and without REDIS_USE_CLUSTER, and a database that a cluster does not have."""
    with start_redis(config=["cluster-enabled yes"]) as server:
        server.cli("cluster", "addslotsrange", "0", "16383")
        wait_until(lambda: "cluster_state:ok" in server.cli("cluster", "info"), what="the cluster is up")
        place = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port)}
        for more in ({}, {"REDIS_USE_CLUSTER": "true"}, {"REDIS_USE_CLUSTER": "true", "REDIS_DB": "2"}):
            [node] = nodes(**place, **more)
            assert (node["up"], node["slots"], node["cluster_state"]) == (True, 16384, "ok")


def test_what_cannot_be_read_is_null_and_never_0(server: RedisServer) -> None:
    server.cli("acl", "setuser", "few", "on", f">{PASSWORD}", "~*", "+@all", "-info")
    settings = {"REDIS_URL": f"redis://few:{PASSWORD}@{server.address}"}
    [node] = nodes(**settings)
    assert not node["up"]
    numbers = {
        name: value for name, value in node.items() if isinstance(value, int | float) and value is not False
    }
    assert numbers == {}


def test_scaling_keys_that_the_policy_does_not_read_are_named(tmp_path: Path) -> None:
    file = tmp_path / "scaler.yml"
    file.write_text(
        "targets:\n- name: mail\n  queues: [mail]\n  processes: {command: [x]}\n  scaleUpThreshold: 1.2\n"
        "  scaleDownThreshold: 0.5\n  cooldownPeriod: 2\n  maxWorkers: 50\n"
    )
    done = run("scaling", "start", "--check-config", "--config", str(file))
    assert (done.returncode, done.stdout) == (0, "the settings are valid: 1 target\n")
    *ignored, conflict = done.stderr.splitlines()
    assert [line.split(" is ignored")[0] for line in ignored] == [
        f"scaling: warning: targets[0].scale_down_threshold ({file}, line 6)",
        f"scaling: warning: targets[0].scale_up_threshold ({file}, line 5)",
    ]
    assert "no job should wait over 30 s (wait_slo_seconds), but nothing is changed for 120 s" in conflict
    printed = run("scaling", "start", "--print-config", "--config", str(file)).stdout
    assert "cooldown_seconds: 120" in printed
    file.write_text(file.read_text() + "  policy: threshold\n")
    assert run("scaling", "start", "--check-config", "--config", str(file)).stderr == ""


def kubernetes(name: str, port: int) -> dict[str, str]:
    """What Kubernetes sets in every pod for a Service of this name."""
    url = f"tcp://127.0.0.1:{port}"
    prefix = f"{name}_PORT_{port}_TCP"
    return {
        f"{name}_SERVICE_HOST": "127.0.0.1",
        f"{name}_SERVICE_PORT": str(port),
        f"{name}_SERVICE_PORT_MAIN": str(port),
        f"{name}_PORT": url,
        prefix: url,
        f"{prefix}_PROTO": "tcp",
        f"{prefix}_PORT": str(port),
        f"{prefix}_ADDR": "127.0.0.1",
    }


def test_a_pod_beside_services_named_like_our_settings(server: RedisServer) -> None:
    services = {
        name: value
        for service in ("REDIS", "REDIS_MASTER", "REDIS_CLUSTER", "BULLMQ_BOARD", "EXPORTER", "SCALER")
        for name, value in kubernetes(service, server.port).items()
    }
    by_url = services | {"REDIS_URL": f"redis://:{PASSWORD}@{server.address}"}
    assert [node["up"] for node in nodes(**by_url)] == [True]
    checked = run("monitor", "start", "--check-config", **by_url)
    assert (checked.stdout.splitlines()[0], checked.stderr) == ("the settings are valid", "")
    assert PASSWORD not in checked.stdout
    assert run("scaling", "start", "--check-config", **services).stderr == ""
    by_host = services | {"REDIS_HOST": "127.0.0.1", "REDIS_PASSWORD": PASSWORD}
    assert [node["address"] for node in nodes(**by_host)] == [server.address]  # the Service's port
    alone = run("monitor", "start", "--check-config", **services)
    assert alone.returncode == 0
    assert alone.stderr == (
        "monitor: warning: REDIS_PORT is ignored: Kubernetes sets it for its Service redis; REDIS_HOST=redis "
        "would use that Service\n"
    )


def test_check_config_has_every_error_and_every_warning(tmp_path: Path) -> None:
    file = tmp_path / "oxherd.yml"
    file.write_text("redis:\n  databse: 2\nmonitoring:\n  interval_minutes: soon\n")
    done = run("monitor", "start", "--check-config", "--config", str(file))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 2)
    assert "redis.databse" in done.stderr
    assert "monitoring.interval_minutes" in done.stderr
    done = run(
        "monitor",
        "start",
        "--check-config",
        REDIS_CLUSTER_NODES="a:1",
        BULLMQ_STATEFILE="x",
        REDIS_RETRIES="3",
    )
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "monitor: warning: BULLMQ_STATEFILE is not a setting; did you mean BULLMQ_STATE_FILE?",
        "monitor: warning: REDIS_CLUSTER_NODES is not a setting; did you mean REDIS_CLUSTER_HOST_1?",
        "monitor: warning: REDIS_RETRIES is not a setting",
    ]


@contextmanager
def started(folder: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [str(BIN / "monitor"), "start"], cwd=folder, env=environment(settings), stderr=output
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_log_file_in_a_folder_that_is_not_there_and_all_addresses(
    server: RedisServer, tmp_path: Path
) -> None:
    port = free_port()
    settings = {
        "REDIS_URL": f"redis://:{PASSWORD}@{server.address}",
        "REDIS_HOST": "elsewhere",
        "REDIS_TTL_SECONDS": "5",
        "LOG_FILE": "logs/monitoring.log",
        "EXPORTER_LISTEN": f"[::]:{port}",
    }
    with started(tmp_path, **settings):
        wait_until(lambda: answers(f"http://[::1]:{port}"), what="IPv6")
        assert answers(f"http://127.0.0.1:{port}")
        done = run("monitor", "redis", EXPORTER_LISTEN=settings["EXPORTER_LISTEN"])
        assert server.address in done.stdout
        assert done.stderr == ""
    log = (tmp_path / "logs" / "monitoring.log").read_text()
    assert 'event="setting ignored"' in log
    assert 'variable=REDIS_HOST reason="REDIS_URL is set"' in log
    assert 'event="no such setting"' in log
    assert "variable=REDIS_TTL_SECONDS\n" in log
    assert PASSWORD not in log


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"CRON_API_KEY": "short"}, "CRON_API_KEY (environment): is shorter than 12 characters"),
        (
            {"CRON_API_KEY": "your-secure-api-key"},
            "CRON_API_KEY (environment): is the key of an example: create your own",
        ),
        (
            {"CRON_API_KEY_FILE": "/nowhere/key"},
            "CRON_API_KEY_FILE=/nowhere/key (environment): cannot be read: no such file or directory",
        ),
    ],
)
def test_a_command_needs_no_key_that_is_fit(server: RedisServer, settings: dict[str, str], why: str) -> None:
    redis = {"REDIS_URL": f"redis://:{PASSWORD}@{server.address}"}
    done = run("monitor", "redis", "--local", **redis, **settings)
    assert done.stderr == f"monitor: {why}; no key is sent\n"
    assert (done.returncode, server.address in done.stdout) == (0, True)
    refused = run("monitor", "start", "--check-config", **redis, **settings)
    assert (refused.returncode, refused.stderr) == (2, f"monitor: {why}\n")
    scaling = run("scaling", "status", SCALER_LISTEN=f"127.0.0.1:{free_port()}", **settings)
    assert scaling.stderr.startswith(f"scaling: {why}; no key is sent\nscaling: no scaler at ")
