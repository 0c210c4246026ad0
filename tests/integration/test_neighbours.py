"""A real exporter beside a scaler and a Prometheus that drip, redirect, or answer what no program expects."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import httpx
import pytest

from lab.deadline import wait_until
from lab.redis import RedisServer
from service.clock import monotonic
from tests.support.any_json import STEERING
from tests.support.raw_server import sending, serving, trickling
from tests.support.system import FULL, Program, running

pytestmark = pytest.mark.timeout(120)  # 15 s alone: neighbours are polled every ten seconds

QUESTIONS: Final = 45
"""More than there are threads for requests."""

ODD_ANSWERS: Final = (
    b"",
    b"null",
    b"[]",
    b'{"success": "yes"}',
    b'{"success": true, "data": NaN}',
    b'{"success": true, "data": 1e999}',
    b'{"success": true, "data": "\\ud800"}',
    b'{"success": true, "data": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b'{"success": true, "data": "\xff"}',
)
TARGETS: Final = [
    {"name": "mail", "current": 2, "sentence": "fine" + "".join(STEERING)},
    {"current": 3},
    {"name": "pdf", "current": "many", "activity": [1], "override": 5},
]


class Neighbour(ThreadingHTTPServer):
    """Answers each path with the bytes in `bodies`, else with an empty object."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.bodies: dict[str, bytes] = {}
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: Neighbour

    def do_GET(self) -> None:
        body = self.server.bodies.get(self.path.partition("?")[0], b"{}")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def neighbour() -> Iterator[Neighbour]:
    server = Neighbour()
    yield server
    server.shutdown()
    server.server_close()


def seconds_for(program: Program, path: str) -> float:
    begun = monotonic()
    assert program.client.get(path, headers={"x-api-key": ""}).status_code == 200
    return monotonic() - begun


@pytest.mark.fault
def test_a_scaler_that_drips_keeps_out_no_scrape_and_holds_up_no_question(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + b"x" * 4000  # 200 s, a byte every 50 ms
    with serving(trickling(raw)) as (url, asked):
        api = {"scaler_url": url, "scaler_timeout_seconds": 4}
        settings = {"redis": {"url": redis_server.url}, "api": api}
        with (
            running(tmp_path, "monitor", {"CRON_API_KEY": FULL}, settings) as program,
            ThreadPoolExecutor(QUESTIONS) as pool,
        ):
            seconds_for(program, "/")  # the paths but those of a scrape are built

            def ask(_: int) -> tuple[int, float]:
                begun = monotonic()
                done = httpx.get(
                    f"{program.url}/api/monitoring",
                    params={"action": "scaling_status"},
                    headers={"x-api-key": FULL},
                    timeout=60,
                )
                return done.status_code, monotonic() - begun

            already = len(asked)
            answers = [pool.submit(ask, number) for number in range(QUESTIONS)]
            wait_until(lambda: len(asked) >= already + 35, what="the questions are under way", seconds=60)
            waited = {path: seconds_for(program, path) for path in ("/metrics", "/", "/healthz")}
            statuses = [answer.result() for answer in answers]
            assert {status for status, _ in statuses} == {504}
            assert max(seconds for _, seconds in statuses) < 15
            assert waited["/healthz"] < 1
            assert max(waited.values()) < 4.5, waited
            wait_until(lambda: b"no answer in time" in ask_page(program), what="the page says so", seconds=30)


def ask_page(program: Program) -> bytes:
    """The page as somebody who has signed in sees it."""
    with httpx.Client(base_url=program.url, timeout=20) as browser:
        browser.post("/sign-in", data={"key": FULL}, headers={"origin": program.url})
        return browser.get("/").content


@pytest.mark.fault
def test_a_scaler_that_redirects_gets_no_key_sent_on(redis_server: RedisServer, tmp_path: Path) -> None:
    with serving(sending(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) as (other, stolen):
        raw = f"HTTP/1.1 302 Found\r\nLocation: {other}/\r\nContent-Length: 0\r\n\r\n".encode()
        with serving(sending(raw)) as (url, asked):
            settings = {"redis": {"url": redis_server.url}, "api": {"scaler_url": url}}
            with running(tmp_path, "monitor", {"CRON_API_KEY": FULL}, settings) as program:
                response = program.client.get("/api/monitoring", params={"action": "scaling_status"})
                assert response.status_code == 502
                order = program.post("pause_scaling", queueName="mail")
                assert order.status_code == 502
                wait_until(
                    lambda: any(b"/status.json" in head for head in asked), what="it is polled", seconds=20
                )
        assert stolen == []


@pytest.mark.fault
def test_whatever_the_neighbours_answer_there_are_a_page_a_status_and_an_api(
    neighbour: Neighbour, redis_server: RedisServer, tmp_path: Path
) -> None:
    view = {"name": "oxherd scaler", "enabled": 1, "targets": TARGETS}
    alerts = [
        {"labels": {"cooldown": 1, "alertname": [2]}, "annotations": {"summary": {}}, "state": "firing"}
    ]
    neighbour.bodies = {
        "/status.json": json.dumps(view).encode(),
        "/api/v1/alerts": json.dumps({"data": {"alerts": alerts}}).encode(),
    }
    api = {"scaler_url": neighbour.url, "prometheus_url": neighbour.url}
    settings = {"redis": {"url": redis_server.url}, "api": api}
    with running(tmp_path, "monitor", {"CRON_API_KEY": FULL}, settings) as program:
        wait_until(lambda: b"targets[1].name" in ask_page(program), what="it was polled", seconds=30)
        page = ask_page(program).decode()
        assert "not as expected: enabled, targets[1].name, targets[2].activity" in page
        assert ">mail<" in page
        assert ">pdf<" in page
        assert [sign for sign in STEERING if sign in page and sign != "\n"] == []
        assert program.client.get("/status.json").status_code == 200
        for answer in ODD_ANSWERS:
            neighbour.bodies["/api/monitoring"] = answer
            response = program.client.get("/api/monitoring", params={"action": "scaling_status"})
            assert (response.status_code, response.json()["success"]) == (502, False), answer[:40]
        neighbour.bodies = dict.fromkeys(("/status.json", "/api/v1/alerts"), b"[" * 100_000)
        wait_until(lambda: b"is not a scaler" in ask_page(program), what="it was polled", seconds=30)
        assert b"is not Prometheus" in ask_page(program)
        assert "Traceback" not in program.log.read_text()
