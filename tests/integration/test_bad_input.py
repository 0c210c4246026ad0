"""Every setting that cannot be used: one line that names it, exit code 2, and no secret anywhere."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.redis import RedisServer, start_redis
from lab.tls import Certificates, make_certificates

pytestmark = pytest.mark.timeout(120)  # 3 s alone, 15 s on a busy machine: commands as processes

MONITOR = Path(sys.executable).with_name("monitor")
CONFIG = Path(__file__).parents[1] / "config"
PASSWORD = "hun#ter/2 secret"
PIECES = ("hunter2", "hunter3", "hun#", "ter/2", "ter2", "ter%2F2", "secret")

SETTINGS = ("REDIS_", "BULLMQ_", "EXPORTER_", "MONITORING_", "ENABLE_", "LOG_")

MISTAKES = {
    "address": "redis.cluster=(hidden) ({}, line 2): expected host:port, found an '@'",
    "boolean": "monitoring.enabled=perhaps ({}, line 2): should be true or false",
    "certificate-without-key": "redis.tls.cert_file=/etc/hostname ({}, line 4): needs REDIS_TLS_KEY_FILE",
    "choice": "log.level=loud ({}, line 2): should be 'debug', 'info', 'warning' or 'error'",
    "cluster-database": "redis.database=3 ({}, line 2): a cluster has only database 0",
    "list": "redis.cluster=127.0.0.1:7001 ({}, line 2): should be a list",
    "listen": "listen=localhost ({}, line 1): should be host:port",
    "mapping": "redis ({}, line 1): should be a mapping of settings",
    "missing": "bullmq.settings[0].match ({}, line 3): is missing",
    "number": "redis.timeout_seconds=soon ({}, line 2): should be a number",
    "out-of-range": "monitoring.interval_minutes=0 ({}, line 2): should be greater than or equal to 0.02",
    "password-number": "redis.password ({}, line 2): should be a text: put it in quotes",
    "penalty": "health.penalties.redis_unreachable=300 ({}, line 3): should be less than or equal to 100",
    "twice": "redis.password ({}, line 3): is set in line 2 already",
    "two-deployments": "redis.cluster ({}, line 3): redis.url is set too",
    "unknown-key": "redis.pasword ({}, line 2): unknown setting; did you mean redis.password?",
    "unknown-section": "reddis ({}, line 1): unknown setting; did you mean redis?",
    "unreadable-file": "redis.tls.ca_file=/nowhere/ca.pem ({}, line 4): cannot be read: no such file",
    "url-password": "redis.url ({}, line 2): write '/', '?' and '#' in the user or the password as",
    "url-port": "redis.url ({}, line 2): after the scheme (and user:password@) a Redis URL has host:port",
    "url-scheme": "redis.url ({}, line 2): a Redis URL starts with redis://",
    "yaml-alias": "{} (line 2, column 13): not YAML",
    "yaml-tab": "{} (line 2, column 1): not YAML: indent with spaces, not tabs",
}


def monitor(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command with only these settings; one that does not end in time fails the test."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    return subprocess.run(
        [str(MONITOR), *arguments],
        env=own | environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=20,
    )


def refusal(*arguments: str, **environ: str) -> str:
    """What a start that must fail says, as its one line."""
    done = monitor("start", *arguments, **environ)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert not [piece for piece in PIECES if piece in lines[0]]
    return lines[0].removeprefix("monitor: ")


@pytest.fixture(scope="module")
def locked_redis() -> Iterator[RedisServer]:
    """A server that wants a password."""
    with start_redis(password="other-password") as server:
        yield server


@pytest.fixture
def talker() -> Iterator[str]:
    """host:port of a server that answers as an HTTP server would."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    yield f"127.0.0.1:{listening.getsockname()[1]}"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


def test_every_file_has_its_line() -> None:
    assert {path.stem.removeprefix("invalid-") for path in CONFIG.iterdir()} == set(MISTAKES)


@pytest.mark.parametrize("mistake", sorted(MISTAKES))
def test_a_mistake_in_the_file(mistake: str) -> None:
    file = str(CONFIG / f"invalid-{mistake}.yaml")
    line = refusal("--check-config", "--config", file)
    assert line.startswith(MISTAKES[mistake].format(file))
    assert refusal("--config", file) == line


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:6379"}, r"REDIS_URL \(environment\): write '/'.*"),
        ({"REDIS_URL": "redis://:hunter2@127.0.0.1:no"}, r"REDIS_URL \(environment\): after the scheme .*"),
        ({"REDIS_URL": "redis://:hunter2@127.0.0.1/x"}, r"REDIS_URL \(environment\): after host:port .*"),
        ({"REDIS_URL": "127.0.0.1:6379"}, r"REDIS_URL \(environment\): a Redis URL starts with .*"),
        ({"MONITORING_INTERVAL_MINUTES": "5m"}, r"MONITORING_INTERVAL_MINUTES=5m \(environment\): .*number"),
        ({"REDIS_CLUSTER_PORT_2": "1"}, r"REDIS_CLUSTER_PORT_2=1 \(environment\): REDIS_CLUSTER_HOST_2 .*"),
        ({"REDIS_PASSWORD_FILE": "/nowhere"}, r"REDIS_PASSWORD_FILE=/nowhere \(environment\): cannot be .*"),
        ({"EXPORTER_CONFIG": "/nowhere"}, r"EXPORTER_CONFIG=/nowhere \(environment\): cannot be read: .*"),
        ({"REDIS_TLS_CA_FILE": "/"}, r"REDIS_TLS_CA_FILE=/ \(environment\): cannot be read: it is a dir.*"),
        (
            {"REDIS_TLS_CERT_FILE": "/etc/hostname", "REDIS_TLS_KEY_FILE": "/etc/hostname"},
            r"REDIS_TLS_CERT_FILE=/etc/hostname \(environment\): not a PEM file.*",
        ),
        (
            {"REDIS_TLS": "1", "REDIS_TLS_CA_FILE": "/etc/hostname"},
            r"REDIS_TLS_CA_FILE=/etc/hostname \(environment\): not a PEM file.*",
        ),
    ],
)
def test_a_mistake_in_the_environment(environ: dict[str, str], line: str) -> None:
    assert re.fullmatch(line, refusal(**environ))


@pytest.mark.parametrize(
    ("environ", "setting"),
    [
        ({}, "REDIS_PASSWORD (not set)"),
        ({"REDIS_PASSWORD": PASSWORD}, "REDIS_PASSWORD (environment)"),
        ({"REDIS_USERNAME": "nobody", "REDIS_PASSWORD": PASSWORD}, "REDIS_PASSWORD (environment)"),
    ],
)
def test_a_wrong_password(locked_redis: RedisServer, environ: dict[str, str], setting: str) -> None:
    where = {"REDIS_URL": f"redis://{locked_redis.address}"}
    assert refusal(**where, **environ).startswith(f"{setting}: {locked_redis.address}: ")


def test_a_wrong_password_in_the_url_and_in_a_file(locked_redis: RedisServer, tmp_path: Path) -> None:
    address = locked_redis.address
    line = refusal(REDIS_URL=f"redis://:hun%23ter%2F2@{address}")
    assert line.startswith(f"REDIS_URL (environment): {address}: ")
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    line = refusal(REDIS_URL=f"redis://{address}", REDIS_PASSWORD_FILE=str(secret))
    assert line.startswith(f"REDIS_PASSWORD (environment): {address}: ")


def test_the_commands_say_it_too(locked_redis: RedisServer) -> None:
    done = monitor("status", "--local", REDIS_URL=f"redis://{locked_redis.address}", REDIS_PASSWORD="hunter2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("monitor: REDIS_PASSWORD (environment): ")
    assert "hunter2" not in done.stderr


def test_not_a_redis(talker: str) -> None:
    line = refusal(REDIS_URL=f"redis://:hunter2@{talker}")
    assert line.startswith(f"REDIS_URL (environment): {talker}: the reply is not Redis protocol")


def test_a_certificate_of_another_authority(
    tls_redis: RedisServer, certificates: Certificates, tmp_path: Path
) -> None:
    tls = {
        "REDIS_URL": tls_redis.url,
        "REDIS_TLS_CERT_FILE": str(certificates.client_certificate),
        "REDIS_TLS_KEY_FILE": str(certificates.client_key),
    }
    line = refusal(**tls, REDIS_TLS_CA_FILE=str(make_certificates(tmp_path).ca))
    assert line.startswith(
        f"REDIS_TLS_CA_FILE (environment): {tls_redis.address}: the server's certificate: "
    )
    done = monitor("redis", "--local", **tls, REDIS_TLS_CA_FILE=str(certificates.ca))
    assert (done.returncode, done.stderr) == (0, "")
    assert tls_redis.address in done.stdout


def test_an_address_that_is_taken(talker: str) -> None:
    done = monitor("start", "--listen", talker, REDIS_URL="redis://127.0.0.1:1")
    assert done.returncode == 2
    expected = f"monitor: --listen={talker} (command line): cannot listen there: address already in use"
    assert done.stderr.splitlines() == [expected]


def test_the_config_of_a_secret_is_never_printed(locked_redis: RedisServer) -> None:
    done = monitor(
        "start", "--print-config", REDIS_URL="redis://:hunter2@h", REDIS_SENTINEL_PASSWORD="secret"
    )
    assert done.returncode == 0
    assert not [piece for piece in PIECES if piece in done.stdout + done.stderr]
