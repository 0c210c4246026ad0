"""The behaviour of the lab's servers that tests rely on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lab.deadline import wait_until
from lab.ports import free_port, who_listens
from lab.process import DiedError
from lab.programs import MissingProgramError
from lab.redis import RedisError, RedisServer, start_redis
from lab.tls import Certificates


def test_a_server_answers_and_an_error_reply_is_an_error(redis_server: RedisServer) -> None:
    assert redis_server.cli("set", "lab:key", "value") == "OK"
    assert redis_server.cli("get", "lab:key") == "value"
    with pytest.raises(RedisError, match="unknown command"):
        redis_server.cli("no-such-command")


def test_the_process_on_a_port_is_named(redis_server: RedisServer) -> None:
    assert who_listens(redis_server.port) in {
        f"{program} (pid {redis_server.process.pid})" for program in ("redis-server", "valkey-server")
    }
    assert who_listens(free_port()) is None


def test_a_suspended_server_does_not_reply_until_it_is_resumed(fresh_redis: RedisServer) -> None:
    fresh_redis.suspend()
    with pytest.raises(RedisError, match="no reply"):
        fresh_redis.cli("ping", seconds=0.2)
    assert not fresh_redis.answers
    fresh_redis.resume()
    assert fresh_redis.cli("ping") == "PONG"


def test_a_killed_server_restarts_on_its_port(fresh_redis: RedisServer) -> None:
    before = fresh_redis.address
    fresh_redis.kill()
    assert not fresh_redis.answers
    fresh_redis.restart()
    assert fresh_redis.address == before
    assert fresh_redis.cli("ping") == "PONG"


def test_nothing_remains_of_a_closed_server() -> None:
    with start_redis() as server:
        pid, directory = server.process.pid, server.directory
        assert directory.is_dir()
    assert not psutil.pid_exists(pid)
    assert not directory.exists()


def test_a_server_ends_when_its_parent_is_killed() -> None:
    program = (
        "import lab.redis as r, signal; s = r.start_redis(); print(s.process.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        server = psutil.Process(int(starter.stdout.readline()))
        directory = Path(server.cwd())
        starter.kill()
    wait_until(lambda: not server.is_running(), what="the server is gone")
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()


def test_a_bad_configuration_shows_the_tail_of_the_log() -> None:
    with pytest.raises(DiedError, match="no-such-setting"):
        start_redis(config=["no-such-setting 1"])


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OXHERD_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingProgramError, match="apt-get install redis-server"):
        start_redis()


def test_a_password_is_required() -> None:
    with start_redis(password="p/w:1") as server:
        assert server.url == f"redis://:p%2Fw%3A1@{server.address}"
        assert server.cli("ping") == "PONG"
        server.password = None
        with pytest.raises(RedisError, match="NOAUTH"):
            server.cli("ping")


def test_tls_requires_a_client_certificate(tls_redis: RedisServer, certificates: Certificates) -> None:
    assert tls_redis.url == f"rediss://{tls_redis.address}"
    assert tls_redis.cli("ping") == "PONG"
    stranger = ["redis-cli", "-p", str(tls_redis.port), "--tls", "--cacert", str(certificates.ca), "ping"]
    assert (
        "PONG" not in subprocess.run(stranger, check=False, capture_output=True, text=True, timeout=10).stdout
    )
