"""SIGTERM at a bad moment: the exporter ends in seconds, with exit code 0."""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from lab.deadline import wait_until
from lab.ports import free_port
from lab.redis import RedisServer
from tests.support.starving import ended_by, started

pytestmark = [pytest.mark.fault, pytest.mark.timeout(60)]  # 8 s alone

MOST = 8.0  # seconds; 5 on a machine that is not busy


def is_ready(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    return False


def test_sigterm_while_redis_hangs_and_scrapes_wait_is_obeyed_in_seconds(
    fresh_redis: RedisServer, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    environ = {
        "REDIS_URL": fresh_redis.url,
        "EXPORTER_LISTEN": f"127.0.0.1:{port}",
        "BULLMQ_STATE_FILE": str(tmp_path / "state"),
    }

    def scrape() -> None:
        with suppress(httpx.HTTPError):
            httpx.get(f"{url}/metrics", timeout=15)

    log = tmp_path / "log"
    with started("exporter", "start", log=log, environ=environ, as_user=False) as program:
        wait_until(lambda: is_ready(url), what="it is ready", seconds=30)
        fresh_redis.suspend()
        scrapes = [threading.Thread(target=scrape) for _ in range(20)]
        for thread in scrapes:
            thread.start()
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(b"POST /api/monitoring HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            assert ended_by(program, signal.SIGTERM, MOST) == 0
        for thread in scrapes:
            thread.join(15)
    fresh_redis.resume()


def test_sigterm_before_redis_was_ever_there_is_obeyed_in_seconds(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    environ = {
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}",
        "EXPORTER_LISTEN": f"127.0.0.1:{port}",
    }
    with started("exporter", "start", log=tmp_path / "log", environ=environ, as_user=False) as program:

        def answers() -> bool:
            with suppress(httpx.HTTPError):
                return httpx.get(f"{url}/healthz", timeout=2).status_code == 200
            return False

        wait_until(answers, what="it answers", seconds=30)
        assert ended_by(program, signal.SIGTERM, MOST) == 0
