from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable, Mapping

import httpx
import pytest

from exporter.api.forward import Scaler
from exporter.bullmq.busy import Busy
from exporter.history import Point
from exporter.metrics.family import Assessment
from exporter.peers.model import Neighbours
from exporter.settings import MonitoringSettings
from exporter.snapshot import QueueId
from exporter.switch import Monitoring, Switch
from exporter.views import About
from exporter.web.app import make_app
from service.api.auth import Door
from service.api.settings import ApiSettings
from service.clock import Deadline
from service.outcome import UnreadableError
from service.web.negotiate import CONTENT_TYPES, Format
from tests.fakes.assessments import assessment


class FakeExporter:
    """Answers at once, and remembers how long it was given."""

    def __init__(self) -> None:
        self.given: list[float] = []
        self.reasons: list[str] = []
        self.switch = Switch(MonitoringSettings())

    def assess(self, deadline: Deadline) -> Assessment | None:
        self.given.append(deadline.remaining())
        return assessment() if self.switch.on else None

    def exposition(self, form: Format, deadline: Deadline) -> bytes:
        self.given.append(deadline.remaining())
        return f"# {form}\n".encode()

    def busy(self, prefix: str, names: Iterable[str], deadline: Deadline) -> Busy:
        if "down" in names:
            raise UnreadableError("timeout", "a: no answer")
        if "mail" not in names:
            raise UnreadableError("not_found", "no known queue is called so")
        return Busy((QueueId(prefix, "mail"),), {"pod-1": 2}, unnamed=1)

    def about(self) -> About:
        return About("1.2.3", monitoring=self.switch.on, uptime=1.0)

    def history(self) -> tuple[Point, ...]:
        return ()

    def neighbours(self) -> Neighbours:
        return Neighbours()

    def monitoring(self) -> Monitoring:
        return self.switch.state

    def monitor(self, *, on: bool, interval_minutes: float | None) -> Monitoring:
        return self.switch.turn(on=on, interval_minutes=interval_minutes)

    def why_not_ready(self) -> list[str]:
        return self.reasons


@pytest.fixture
def exporter() -> FakeExporter:
    return FakeExporter()


OPEN = ApiSettings()


class Client:
    """Calls the application as a server would, without a socket."""

    def __init__(self, exporter: FakeExporter, api: ApiSettings = OPEN) -> None:
        self._transport = httpx.ASGITransport(make_app(exporter, Door(api, "CRON_API_KEY"), Scaler(None, 1)))

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        async def call() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://exporter") as client:
                return await client.request(
                    method,
                    path,
                    headers={"accept-encoding": "identity"} | dict(headers or {}),
                    content=content,
                )

        return asyncio.run(call())

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return self.request("GET", path, headers)


@pytest.fixture
def client(exporter: FakeExporter) -> Client:
    return Client(exporter)


@pytest.mark.parametrize(
    ("accept", "form"), [("*/*", "text"), ("application/openmetrics-text;version=1.0.0", "openmetrics")]
)
def test_metrics(client: Client, accept: str, form: Format) -> None:
    answer = client.get("/metrics", headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == CONTENT_TYPES[form]
    assert "content-encoding" not in answer.headers
    assert answer.text == f"# {form}\n"


def test_gzip(client: Client) -> None:
    answer = client.get("/metrics", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(gzip.compress(b"# text\n", 1, mtime=0))
    assert answer.text == "# text\n"


@pytest.mark.parametrize("path", ["/metrics", "/status.json", "/"])
def test_the_deadline_is_the_callers(client: Client, exporter: FakeExporter, path: str) -> None:
    client.get(path, headers={"x-prometheus-scrape-timeout-seconds": "3"})
    client.get(path, headers={"x-prometheus-scrape-timeout-seconds": "never"})
    client.get(path)
    assert [round(seconds, 1) for seconds in exporter.given] == [2.5, 10, 10]


def test_alive_and_ready(client: Client, exporter: FakeExporter) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready", "reasons": []}
    exporter.reasons = ["the first collection is not done yet"]
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, exporter.reasons)
    assert client.get("/healthz").status_code == 200
    assert exporter.given == []  # neither looks at anything


def test_status_and_page(client: Client) -> None:
    assert client.get("/status.json").json()["health"]["score"] == 80
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<h1>Oxherd</h1>" in answer.text


@pytest.mark.parametrize("path", ["/", "/metrics", "/status.json", "/healthz", "/readyz"])
def test_methods(client: Client, path: str) -> None:
    head = client.request("HEAD", path)
    assert head.status_code == 200
    assert head.headers["content-type"] == client.get(path).headers["content-type"]
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = client.request(method, path)
        assert answer.status_code == 405
        assert answer.json() == {"detail": "Method Not Allowed"}


@pytest.mark.parametrize("path", ["/redoc", "/metrics/x", "/favicon.ico", "/scrape?target=x"])
def test_there_is_nothing_else(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


def test_who_is_busy(client: Client) -> None:
    assert client.get("/busy.json?prefix=bull&queue=mail&queue=v*").json() == {
        "queues": ["mail"],
        "workers": {"pod-1": 2},
        "unnamed": 1,
        "cut_off": False,
    }
    assert client.get("/busy.json?prefix=bull&queue=nobody").status_code == 404
    assert client.get("/busy.json?prefix=bull&queue=down").json() == {"error": "a: no answer"}
    assert client.get("/busy.json?prefix=bull&queue=down").status_code == 503
    assert client.get("/busy.json").status_code == 422


def test_openapi(client: Client) -> None:
    described = client.get("/openapi.json").json()
    others = {"/", "/metrics", "/status.json", "/busy.json", "/healthz", "/readyz"}
    assert set(described["paths"]) == {*others, "/api/monitoring"}
    assert all(set(described["paths"][path]) == {"get"} for path in others)
    assert described["info"]["version"] == "1.2.3"
