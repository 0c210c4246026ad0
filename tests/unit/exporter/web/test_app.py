from __future__ import annotations

import pytest

from service.web.body import Body
from service.web.negotiate import CONTENT_TYPES, MetricsFormat
from tests.support.exporter_app import Client, FakeExporter


@pytest.fixture
def exporter() -> FakeExporter:
    return FakeExporter()


@pytest.fixture
def client(exporter: FakeExporter) -> Client:
    return Client(exporter)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", "text"),
        ("application/openmetrics-text;version=1.0.0", "openmetrics"),
        (CONTENT_TYPES["protobuf"], "protobuf"),
    ],
)
def test_metrics(client: Client, accept: str, form: MetricsFormat) -> None:
    answer = client.get("/metrics", headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == CONTENT_TYPES[form]
    assert "content-encoding" not in answer.headers
    assert answer.text == f"# {form}\n"


def test_gzip(client: Client) -> None:
    answer = client.get("/metrics", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(Body([b"# text\n"]).gzip())
    assert answer.text == "# text\n"


@pytest.mark.parametrize("path", ["/metrics", "/status.json", "/"])
def test_the_deadline_is_the_callers(client: Client, exporter: FakeExporter, path: str) -> None:
    client.get(path, headers={"x-prometheus-scrape-timeout-seconds": "3"})
    client.get(path, headers={"x-prometheus-scrape-timeout-seconds": "never"})
    client.get(path)
    assert exporter.given == pytest.approx([2.5, 10, 10], abs=0.4)


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
        assert answer.json() == {"success": False, "error": f"this path does not take {method}"}


@pytest.mark.parametrize("path", ["/redoc", "/metrics/x", "/favicon.ico", "/scrape?target=x"])
def test_other_paths_do_not_exist(client: Client, path: str) -> None:
    answer = client.get(path)
    error = f"there is no {path.partition('?')[0]} here; the API is /api/monitoring, and /docs describes it"
    assert (answer.status_code, answer.json()) == (404, {"success": False, "error": error})


def test_a_path_in_an_answer_is_short_and_printable(client: Client) -> None:
    error = client.get("/" + "x" * 5000 + "%1b%5b31m").json()["error"]
    assert len(error) < 250
    assert "x%1B" not in client.get("/x%1b%5b31m").json()["error"]
    assert client.get("/x%1b%5b31m").json()["error"].isprintable()


def test_busy_workers(client: Client) -> None:
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
