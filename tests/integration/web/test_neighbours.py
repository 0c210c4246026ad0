"""Requests that wait for something else: for a scaler that drips, for a Redis that hangs while the exporter
is asked to stop."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from lab.redis import RedisServer
from tests.support.system import FULL, PATH, Program, running

pytestmark = [pytest.mark.fault, pytest.mark.timeout(90)]  # up to 20 s alone


@contextmanager
def dripping() -> Iterator[str]:
    """The URL of a server whose answers come a byte a second, and never end."""
    ending = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0), backlog=100)
    listening.settimeout(0.2)
    drips: list[threading.Thread] = []

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not ending.wait(1):
                connection.sendall(b" ")

    def accept() -> None:
        while not ending.is_set():
            with suppress(TimeoutError):
                drips.append(threading.Thread(target=drip, args=(listening.accept()[0],)))
                drips[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        ending.set()
        accepting.join()
        for thread in drips:
            thread.join()
        listening.close()


def took(program: Program, path: str) -> float:
    begun = time.monotonic()
    assert httpx.get(program.url + path, timeout=20).status_code == 200
    return time.monotonic() - begun


MANY = 130
"""Questions: 40 are asked at once, for 5 s, so that the last ten have no turn in 10 s."""


def test_a_scaler_that_drips_does_not_take_the_threads_of_scrapes(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    with dripping() as url:
        environ = {"REDIS_URL": redis_server.url, "SCALER_URL": url, "CRON_API_KEY": FULL}
        with running(tmp_path, "monitor", environ, {}) as program, ThreadPoolExecutor(MANY) as pool:

            def ask(_: int) -> tuple[int, float]:
                begun = time.monotonic()
                answer = httpx.get(
                    program.url + PATH,
                    params={"action": "scaling_status"},
                    headers={"x-api-key": FULL},
                    timeout=60,
                )
                return answer.status_code, time.monotonic() - begun

            asked = [pool.submit(ask, number) for number in range(MANY)]
            time.sleep(0.5)
            while not all(answer.done() for answer in asked):
                assert took(program, "/metrics") < 2
                assert took(program, "/healthz") < 1
                time.sleep(0.1)
            answers = [answer.result() for answer in asked]
            assert {status for status, _ in answers} == {503, 504}, "of those 503 whose turn did not come"
            assert (
                max(seconds for _, seconds in answers) < 22
            )  # 10 s for a turn, 5 s of the scaler, and the load
            assert program.samples()['oxherd_http_refused_total{reason="late"}'] > 0
            assert took(program, "/readyz") < 1


def test_a_stop_while_thirty_scrape_a_redis_that_hangs(tmp_path: Path, fresh_redis: RedisServer) -> None:
    environ = {"REDIS_URL": fresh_redis.url}
    with running(tmp_path, "monitor", environ, {}, key=None) as program:
        fresh_redis.suspend()
        host, _, port = program.url.removeprefix("http://").rpartition(":")
        connections = [socket.create_connection((host, int(port)), timeout=10) for _ in range(31)]
        for connection in connections[1:]:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        connections[0].sendall(b"POST /api/monitoring HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.3)
        begun = time.monotonic()
        program.process.send_signal(signal.SIGTERM)
        try:
            assert program.process.wait(10) == 0
        except subprocess.TimeoutExpired:
            pytest.fail("it does not stop")
        assert time.monotonic() - begun < 8
        for connection in connections:
            connection.close()
        fresh_redis.resume()
        written = program.log.read_text()
        assert "Traceback" not in written
        assert "stopped" in written
