"""Scrapes that their client gives up while what they read hangs: none keeps a place, a thread or a socket."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from lab.deadline import wait_until
from lab.redis import start_redis
from tests.support.attackers import reset_after
from tests.support.system import running

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]  # up to 20 s alone

HASTY = {"X-Prometheus-Scrape-Timeout-Seconds": "0.5"}
HASTY_RAW = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 0.5\r\n\r\n"
TIMES = 100


def test_scrapes_that_are_given_up_hold_nothing(tmp_path: Path) -> None:
    """Beside probes and a scaler that take a connection and never answer."""
    with start_redis() as redis, socket.create_server(("127.0.0.1", 0), backlog=512) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        probes = [{"name": f"probe-{n}", "url": url, "timeout_seconds": 0.2} for n in range(5)]
        environ = {"REDIS_URL": redis.url, "SCALER_URL": url}
        with running(tmp_path, "monitor", environ, {"probes": probes}, key=None) as program:
            process = psutil.Process(program.process.pid)
            wait_until(
                lambda: program.samples().get('oxherd_collect_success{source="redis"}') == 1, what="Redis"
            )
            before = process.num_fds(), process.num_threads()
            redis.suspend()
            host, _, port = program.url.removeprefix("http://").rpartition(":")
            for _ in range(TIMES):
                with suppress(httpx.HTTPError):
                    httpx.get(f"{program.url}/metrics", headers=HASTY, timeout=0.05)
                reset_after((host, int(port)), HASTY_RAW)
            redis.resume()
            wait_until(
                lambda: program.samples().get('oxherd_collect_success{source="redis"}') == 1, what="Redis"
            )
            assert process.num_fds() < before[0] + 10
            assert process.num_threads() < before[1] + 10
