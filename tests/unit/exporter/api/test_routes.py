"""The actions of the exporter, over the application without a socket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from exporter.api.actions import queue_metrics
from exporter.snapshot.queues import QueueId
from exporter.views import About, status_view
from service.api import endpoint
from service.api.envelope import ApiError
from service.api.settings import ApiSettings
from tests.support.assessments import assessment, queue
from tests.support.exporter_app import Client, FakeExporter

FULL, READ = "a-full-key-of-tests", "a-read-key-of-tests"
KEYS = ApiSettings(key=SecretStr(FULL), read_key=SecretStr(READ))
KEY = {"x-api-key": FULL}
PATH = "/api/monitoring"
QUESTIONS = [
    "health_check",
    "system_metrics",
    "redis_cluster",
    "redis_performance",
    "queue_metrics",
    "monitoring_status",
]
"""Without `queue_memory`, which is not measured here."""


@pytest.fixture
def exporter() -> FakeExporter:
    return FakeExporter()


@pytest.fixture
def client(exporter: FakeExporter) -> Client:
    return Client(exporter, KEYS)


def post(client: Client, body: object, headers: Mapping[str, str] = KEY) -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.request("POST", PATH, headers, content=raw)
    return answer.status_code, answer.json()


@pytest.mark.parametrize("action", ["", *QUESTIONS])
def test_every_query_is_answered_in_the_envelope(client: Client, action: str) -> None:
    answer = client.get(f"{PATH}?action={action}" if action else PATH, KEY)
    body = answer.json()
    assert (answer.status_code, set(body), body["success"]) == (200, {"success", "data", "timestamp"}, True)
    assert answer.headers["cache-control"] == "no-store"
    assert body["timestamp"].endswith("Z")
    assert not any("_" in key for key in body["data"])


@pytest.mark.parametrize(
    "way",
    [
        {"headers": {"authorization": f"Bearer {READ}"}},
        {"headers": {"authorization": f"bearer  {READ}"}},
        {"headers": {"x-api-key": READ}},
        {"query": f"&apiKey={READ}"},
    ],
)
def test_the_ways_to_send_a_key(client: Client, way: dict[str, Any]) -> None:
    path = f"{PATH}?action=health_check{way.get('query', '')}"
    assert client.get(path, way.get("headers")).status_code == 200


def test_a_key_in_the_body(client: Client) -> None:
    assert post(client, {"action": "stop_monitoring", "apiKey": FULL}, {})[0] == 200
    assert post(client, {"action": "stop_monitoring", "apiKey": READ}, {})[0] == 403
    assert post(client, {"action": "stop_monitoring", "apiKey": 7}, {})[0] == 401


@pytest.mark.parametrize(
    "path",
    [PATH, f"{PATH}?action=nonsense", f"{PATH}?apiKey=", "/status.json", "/busy.json?prefix=b&queue=q"],
)
def test_without_a_key_nothing_is_disclosed(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (401, {"success": False, "error": "a key is needed"})
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"action": "nonsense"}'])
def test_a_body_is_not_parsed_without_a_key(client: Client, body: bytes) -> None:
    assert post(client, body, {}) == (401, {"success": False, "error": "a key is needed"})


def test_without_a_configured_key_the_api_is_closed_and_names_the_setting(exporter: FakeExporter) -> None:
    answer = Client(exporter).get(PATH, KEY)
    assert (answer.status_code, answer.json()) == (
        503,
        {"success": False, "error": "the API is closed: CRON_API_KEY is not set"},
    )
    assert Client(exporter).get("/status.json").status_code == 200, "no more than /metrics tells"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "should be JSON"),
        (b"{", "should be JSON"),
        (b'{"action": NaN}', "should be JSON"),
        (b"[" * 50_000, "should be JSON"),
        ([], "should be a JSON object"),
        ({}, "an action is needed; actions: start_monitoring, stop_monitoring, collect_metrics"),
        ({"action": ["x"]}, "an action is needed"),
        ({"action": "x" * 1000}, "there is no action"),
        ({"action": "start_monitoring", "intervalMinutes": 0}, "intervalMinutes: "),
        ({"action": "start_monitoring", "intervalMinutes": "5"}, "intervalMinutes: "),
        ({"action": "start_monitoring", "intervalMinutes": True}, "intervalMinutes: "),
        ({"action": "start_monitoring", "intervalMinutes": 1e99}, "intervalMinutes: "),
        ({"action": "start_monitoring", "intervalMinutes": 1e-300}, "intervalMinutes: "),
        ({"action": "start_monitoring", "interval": 5}, "interval: "),
        ({"action": "manual_scale", "queueName": "x", "targetWorkers": 3}, "SCALER_URL is not set"),
    ],
)
def test_an_invalid_command_is_refused(
    client: Client, exporter: FakeExporter, body: object, message: str
) -> None:
    status, answer = post(client, body)
    assert status == (503 if "SCALER_URL" in message else 400)
    assert set(answer) == {"success", "error"}
    assert message in answer["error"]
    assert len(answer["error"]) < 1000
    assert exporter.switch.state.origin == "settings", "nothing was changed"


@pytest.mark.fault
@pytest.mark.parametrize("minutes", [1e-300, 5e-324, 0.01, 1441, 1e300, -5])
def test_an_interval_is_from_a_second_to_a_day(
    client: Client, exporter: FakeExporter, minutes: float
) -> None:
    status, answer = post(client, {"action": "start_monitoring", "intervalMinutes": minutes})
    assert (status, "intervalMinutes: " in answer["error"]) == (400, True)
    assert exporter.switch.state.interval_minutes == 5.0


def test_a_body_that_is_too_large(client: Client) -> None:
    assert post(client, b" " * (65 << 10))[0] == 413


@pytest.mark.parametrize("action", ["nonsense", "health_check%00", "HEALTH_CHECK", "start_monitoring"])
def test_an_unknown_query(client: Client, action: str) -> None:
    answer = client.get(f"{PATH}?action={action}", KEY)
    assert answer.status_code == 400
    assert "there is no action" in answer.json()["error"]
    assert "health_check, system_metrics" in answer.json()["error"]


def test_other_methods_and_paths_have_the_envelope_too(client: Client) -> None:
    assert client.request("PUT", PATH, KEY).json() == {
        "success": False,
        "error": "this path does not take PUT",
    }
    assert client.get("/api/nothing", KEY).json() == {
        "success": False,
        "error": "there is no /api/nothing here; the API is /api/monitoring, and /docs describes it",
    }


def test_monitoring_is_stopped_and_started(client: Client, exporter: FakeExporter) -> None:
    status, answer = post(client, {"action": "stop_monitoring"})
    assert (status, answer["data"]["enabled"], answer["data"]["origin"]) == (200, False, "api")
    for action in set(QUESTIONS) - {"monitoring_status"}:
        refused = client.get(f"{PATH}?action={action}", KEY)
        assert refused.status_code == 409
        assert "start_monitoring" in refused.json()["error"]
    assert post(client, {"action": "collect_metrics"})[0] == 409
    overall = client.get(PATH, KEY).json()["data"]
    assert (overall["monitoring"], overall["health"]) == (False, None)
    status, answer = post(client, {"action": "start_monitoring", "intervalMinutes": 2})
    assert (answer["data"]["enabled"], answer["data"]["intervalMinutes"]) == (True, 2)
    assert exporter.switch.state.interval_minutes == 2
    assert post(client, {"action": "collect_metrics"})[1]["data"]["score"] > 0


def test_one_queue_by_name(client: Client) -> None:
    queues = client.get(f"{PATH}?action=queue_metrics", KEY).json()["data"]["queues"]
    name = queues[0]["name"]
    queues = client.get(f"{PATH}?action=queue_metrics&queueName={quote(name)}", KEY).json()["data"]["queues"]
    assert {queue["name"] for queue in queues} == {name}
    assert client.get(f"{PATH}?action=queue_metrics&queueName=none", KEY).status_code == 404


def test_a_queue_goes_by_its_name_without_the_tag_of_a_cluster() -> None:
    tagged = tuple(
        queue("x")._replace(id=QueueId(prefix, name))
        for prefix, name in (("bull", "{notifications}"), ("bull", "mail"), ("app", "mail"), ("app", "x"))
    )
    view = status_view(assessment(queues=tagged), About("1", monitoring=True, uptime=1.0))
    for name, expected in (
        ("notifications", ("bull", "{notifications}")),
        ("x", ("app", "x")),
        ("bull:mail", ("bull", "mail")),
    ):
        (found,) = queue_metrics(view, name).queues
        assert (found.prefix, found.name) == expected
    with pytest.raises(ApiError, match="'mail' may be each of: app:mail, bull:mail") as error:
        queue_metrics(view, "mail")
    assert error.value.status == 400
    assert queue_metrics(view, "bull:lost").unread[0].name == "lost"


@pytest.mark.fault
def test_the_description_and_its_page_are_made_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may ask for them, and they take tens of milliseconds."""
    made: list[str] = []

    def reference_page(spec: Mapping[str, Any]) -> str:
        made.append(json.dumps(spec))
        return "the page"

    monkeypatch.setattr(endpoint, "reference_page", reference_page)
    assert [client.get("/docs").text for _ in range(3)] == ["the page"] * 3
    assert len(made) == 1
    assert client.get("/openapi.json").text == client.get("/openapi.json").text


def test_the_description_and_its_page_need_no_key_and_load_nothing(client: Client) -> None:
    spec = client.get("/openapi.json").json()
    assert {"get", "post"} == set(spec["paths"][PATH])
    schemas = set(spec["components"]["schemas"])
    assert {"StartMonitoring", "HealthCheck", "QueueMetrics", "Failure"} <= schemas
    page = client.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert all(action in page.text for action in [*QUESTIONS, "manual_scale"])
