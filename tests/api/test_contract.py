"""Every documented request: its response against the description and, in numbers, against /metrics and
BullMQ's own counts."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from lab.deadline import wait_until
from scaler.state.file_store import FileStore
from tests.support.system import FULL, PATH, Program, System, spec_of

pytestmark = pytest.mark.timeout(120)  # up to 9 s alone, of the system and steps of the scaler

MONITORING = [
    "health_check",
    "system_metrics",
    "redis_cluster",
    "redis_performance",
    "queue_metrics",
    "queue_memory",
    "monitoring_status",
]
SCALING = ["scaling_status", "scaling_metrics"]
MODELS = {
    "": "Overall",
    "health_check": "HealthCheck",
    "system_metrics": "SystemMetrics",
    "redis_cluster": "RedisCluster",
    "redis_performance": "RedisPerformance",
    "queue_metrics": "QueueMetrics",
    "queue_memory": "QueueMemoryData",
    "monitoring_status": "MonitoringStatus",
    "start_monitoring": "MonitoringStatus",
    "stop_monitoring": "MonitoringStatus",
    "collect_metrics": "Collected",
    "scaling_status": "ScalingStatus",
    "scaling_metrics": "ScalingMetrics",
    "start_autoscaling": "ScalingStatus",
    "stop_autoscaling": "ScalingStatus",
    "manual_scale": "ManualScale",
    "automatic_scale": "Automatic",
    "pause_scaling": "Automatic",
    "update_scaling_config": "Policy",
    "reset_scaling_config": "Policy",
}
"""The model of the data of each action, as documented."""


def fits(program: Program, action: str, data: Any) -> None:
    """The data matches the description of this action: no key is missing, none is unknown."""
    components = spec_of(program)["components"]
    schema = {"$ref": f"#/components/schemas/{MODELS[action]}", "components": components}
    Draft202012Validator(schema).validate(data)
    known = components["schemas"][MODELS[action]]["properties"]
    assert set(data) == set(known)


@pytest.fixture(autouse=True)
def _restored(system: System) -> Any:
    yield
    system.exporter.command("start_monitoring", intervalMinutes=5)
    system.scaler.command("start_autoscaling", intervalMinutes=1 / 60)
    system.scaler.command("automatic_scale", queueName="notifications")
    system.scaler.command("reset_scaling_config", queueName="notifications")


@pytest.mark.parametrize("action", ["", *MONITORING, *SCALING])
def test_every_query(system: System, action: str) -> None:
    data = system.exporter.ask(action)
    fits(system.scaler if action in SCALING else system.exporter, action, data)


def test_queue_metrics_are_bullmqs_own_counts_and_those_of_the_metrics(system: System) -> None:
    data = system.exporter.ask("queue_metrics")
    samples = system.exporter.samples()
    assert [queue["name"] for queue in data["queues"]] == ["notifications", "reports"]
    for queue in data["queues"]:
        counts = system.library.counts(queue["name"])
        waiting = counts["waiting"] + counts.get("paused", 0)
        assert queue["waiting"] == waiting
        for state in ("active", "delayed", "failed", "completed"):
            assert queue[state] == counts[state], state
        labels = f'prefix="bull",queue="{queue["name"]}"'
        for state in ("waiting", "active", "delayed", "failed"):
            assert samples[f'bullmq_job_count{{{labels},state="{state}"}}'] == queue[state]
        assert samples[f"bullmq_queue_paused{{{labels}}}"] == queue["paused"]
    assert data["totals"]["waiting"] == 8


def test_health_and_redis_are_those_of_the_metrics(system: System) -> None:
    samples = system.exporter.samples()
    health = system.exporter.ask("health_check")
    assert health["score"] == samples["oxherd_health_score"]
    [node] = system.exporter.ask("redis_performance")["nodes"]
    assert node["connectedClients"] == samples[f'redis_connected_clients{{node="{node["address"]}"}}']
    [cluster] = system.exporter.ask("redis_cluster")["nodes"]
    assert (cluster["up"], cluster["role"]) == (True, "master")
    host = system.exporter.ask("system_metrics")["host"]
    assert host["memoryTotalBytes"] == samples["host_memory_total_bytes"]
    assert host["filesystems"]


@pytest.mark.parametrize(
    "request_of",
    [
        lambda url: httpx.get(
            f"{url}{PATH}?action=health_check", headers={"Authorization": f"Bearer {FULL}"}
        ),
        lambda url: httpx.get(f"{url}{PATH}?action=queue_metrics&apiKey={FULL}"),
        lambda url: httpx.post(
            url + PATH, json={"action": "start_monitoring", "intervalMinutes": 5, "apiKey": FULL}
        ),
        lambda url: httpx.post(
            url + PATH,
            json={"action": "start_autoscaling", "intervalMinutes": 2},
            headers={"X-API-Key": FULL},
        ),
        lambda url: httpx.post(
            url + PATH,
            json={
                "action": "manual_scale",
                "queueName": "notifications",
                "targetWorkers": 10,
                "apiKey": FULL,
            },
        ),
    ],
    ids=["health", "queues", "start_monitoring", "start_autoscaling", "manual_scale"],
)
def test_the_requests_of_existing_clients(system: System, request_of: Any) -> None:
    answer = request_of(system.exporter.url)
    body = answer.json()
    assert (answer.status_code, body["success"]) == (200, True), body
    assert set(body) == {"success", "data", "timestamp"}


def test_stopped_monitoring_is_in_the_metrics(system: System) -> None:
    exporter = system.exporter
    data = exporter.command("stop_monitoring")
    fits(exporter, "stop_monitoring", data)
    samples = exporter.samples()
    assert samples["oxherd_monitoring_enabled"] == 0
    assert not any(name.startswith(("redis_", "bullmq_", "oxherd_health")) for name in samples)
    assert exporter.client.get("/readyz").status_code == 200
    assert exporter.client.get(PATH, params={"action": "health_check"}).status_code == 409
    system.library.add("notifications")
    fits(exporter, "start_monitoring", exporter.command("start_monitoring", intervalMinutes=3))
    assert exporter.samples()["oxherd_monitoring_enabled"] == 1
    assert exporter.ask("monitoring_status")["intervalMinutes"] == 3
    fits(exporter, "collect_metrics", exporter.command("collect_metrics"))
    wait_until(
        lambda: exporter.ask("queue_metrics", queueName="notifications")["queues"][0]["waiting"] >= 6,
        what="the new job is counted",
    )


def test_a_manual_scale_is_applied_and_cleared(system: System) -> None:
    data = system.exporter.command(
        "manual_scale",
        queueName="notifications",
        targetWorkers=10,
        reason="a launch",
        requestedBy="ada",
        durationMinutes=30,
    )
    fits(system.scaler, "manual_scale", data)
    assert data["until"] == pytest.approx(data["since"] + 1800)
    assert data["withoutEffect"] is None

    def overridden() -> Any:
        target = system.exporter.ask("scaling_status")["targets"][0]
        return target if target["override"] and target["current"] == 10 else None

    target = wait_until(overridden, what="ten, by the override")
    assert (target["override"]["reason"], target["override"]["by"]) == ("a launch", "ada")
    assert (
        system.scaler.samples()['oxherd_scaler_current_replicas{queue="notifications",target="mail"}'] == 10
    )
    logged = [line for line in system.scaler.log.read_text().splitlines() if "api command" in line]
    assert any('\\"reason\\":\\"a launch\\"' in line and "action=manual_scale" in line for line in logged)
    data = system.exporter.command("automatic_scale", queueName="mail")
    assert data == {"target": "mail", "changed": True}


def test_a_pause(system: System) -> None:
    data = system.exporter.command("pause_scaling", queueName="notifications")
    fits(system.scaler, "pause_scaling", data)
    wait_until(lambda: system.scaler.ask("scaling_status")["targets"][0]["paused"], what="paused")
    assert system.exporter.command("automatic_scale", queueName="notifications")["changed"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"queueName": "notifications", "targetWorkers": 13}, "13 is not within the bounds of mail: 1 to 12"),
        ({"queueName": "notifications", "targetWorkers": 0}, "0 is not within the bounds"),
        ({"queueName": "notifications", "targetWorkers": -1}, "targetWorkers: "),
        ({"queueName": "notifications", "targetWorkers": "10"}, "targetWorkers: "),
        ({"queueName": "notifications", "targetWorkers": 2.5}, "targetWorkers: "),
        ({"queueName": "notifications"}, "targetWorkers: "),
        ({"queueName": "video", "targetWorkers": 3}, "there is no target or queue 'video'"),
        ({"targetWorkers": 3}, "queueName: "),
        ({"queueName": "notifications", "targetWorkers": 3, "reason": "  "}, "reason: should say why"),
        ({"queueName": "notifications", "targetWorkers": 3, "workers": 3}, "workers: "),
    ],
)
def test_an_invalid_manual_scale(system: System, body: dict[str, Any], error: str) -> None:
    answer = system.exporter.post("manual_scale", **body)
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert error in answer.json()["error"]
    wait_until(
        lambda: system.scaler.ask("scaling_status")["targets"][0]["override"] is None,
        what="there is no override",
    )


def test_a_changed_policy_is_saved_shown_and_undone(system: System) -> None:
    data = system.exporter.command(
        "update_scaling_config", queueName="notifications", maxWorkers=20, targetWaitingJobs=7
    )
    fits(system.scaler, "update_scaling_config", data)
    assert (data["settings"]["maxWorkers"], data["origins"]["maxWorkers"]) == (20, "changed")
    policies = FileStore(str(system.folder / "state.json")).read()[0].operator.policies
    assert policies == {"mail": {"max_workers": 20, "target_waiting_jobs": 7}}
    wait_until(lambda: system.scaler.ask("scaling_status")["targets"][0]["max"] == 20, what="in force")
    assert system.scaler.ask("scaling_status")["targets"][0]["origins"]["maxWorkers"] == "changed"
    system.exporter.command("update_scaling_config", queueName="notifications", maxWorkers=None)
    assert FileStore(str(system.folder / "state.json")).read()[0].operator.policies == {
        "mail": {"target_waiting_jobs": 7}
    }
    data = system.exporter.command("reset_scaling_config", queueName="notifications")
    assert (data["settings"]["maxWorkers"], data["origins"]["maxWorkers"]) == (12, "target")
    wait_until(lambda: system.scaler.ask("scaling_status")["targets"][0]["max"] == 12, what="as it was")


def test_the_scaling_example_of_the_users_document(system: System) -> None:
    example = {"scaleUpThreshold": 1.2, "scaleDownThreshold": 0.5, "cooldownPeriod": 2, "maxWorkers": 50}
    data = system.exporter.command("update_scaling_config", queueName="notifications", **example)
    fits(system.scaler, "update_scaling_config", data)
    settings = data["settings"]
    assert {name: settings[name] for name in example if name in settings} == {
        name: value for name, value in example.items() if name != "cooldownPeriod"
    }
    assert (settings["cooldownSeconds"], data["warnings"]) == (120, [])
    wait_until(lambda: system.scaler.ask("scaling_status")["targets"][0]["max"] == 50, what="in force")
    data = system.exporter.command(
        "update_scaling_config", queueName="notifications", policy="wait_target", **example
    )
    assert data["warnings"] == [
        f"{key}: the policy in force is wait_target; only threshold reads this key"
        for key in ("scaleUpThreshold", "scaleDownThreshold")
    ]
    data = system.exporter.command("update_scaling_config", queueName="notifications", cooldownPeriod=None)
    assert data["settings"]["cooldownSeconds"] is None


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, "nothing to change: set one of"),
        ({"cooldownPeriod": 2, "cooldownSeconds": 60}, "cooldownPeriod: cooldownSeconds is set too"),
        ({"cooldownPeriod": -1}, "cooldownPeriod: "),
        ({"maxWorkers": 0}, "maxWorkers: "),
        ({"maxWorkers": "20"}, "maxWorkers: "),
        ({"minWorkers": 13}, "minWorkers 13 is above maxWorkers 12"),
        ({"scaleDownThreshold": 99}, "scaleDownThreshold should be below scaleUpThreshold"),
        ({"policy": "magic"}, "policy: "),
        ({"max_workers": 20}, "max_workers: "),
        ({"maxWrokers": 20}, "maxWrokers: "),
    ],
)
def test_an_invalid_policy(system: System, changes: dict[str, Any], error: str) -> None:
    answer = system.scaler.post("update_scaling_config", queueName="notifications", **changes)
    assert answer.status_code == 400
    assert error in answer.json()["error"]
    assert FileStore(str(system.folder / "state.json")).read()[0].operator.policies == {}


def test_autoscaling_is_stopped_and_started(system: System) -> None:
    data = system.exporter.command("stop_autoscaling")
    fits(system.scaler, "stop_autoscaling", data)
    assert (data["enabled"], data["enabledOrigin"]) == (False, "order")
    _steps(system.scaler, 2)  # a step may have been under way
    before = system.scaler.ask("scaling_status")["targets"][0]["current"]
    data = system.exporter.command("manual_scale", queueName="mail", targetWorkers=before + 1)
    assert data["withoutEffect"] == "scaling is stopped, until `start_autoscaling`"
    _steps(system.scaler, 2)
    assert system.scaler.ask("scaling_status")["targets"][0]["current"] == before, "left as it is"
    data = system.exporter.command("start_autoscaling", intervalMinutes=0.02)
    assert (data["enabled"], data["intervalSeconds"], data["intervalOrigin"]) == (True, 1.2, "order")
    wait_until(
        lambda: system.scaler.ask("scaling_status")["targets"][0]["current"] == before + 1, what="scaled"
    )


def _steps(scaler: Program, count: int) -> None:
    """Wait for so many more steps of the scaler."""
    name = "oxherd_scaler_steps_total"
    before = scaler.samples()[name]
    wait_until(lambda: scaler.samples()[name] >= before + count, what=f"{count} steps", seconds=60)


def test_reading_keys_change_nothing(system: System) -> None:
    for program in (system.exporter, system.scaler):
        answer = httpx.post(
            program.url + PATH,
            json={"action": "stop_autoscaling", "apiKey": "the-read-key-of-these-tests"},
        )
        assert (answer.status_code, answer.json()["error"]) == (403, "this key may read only")


def test_no_key_gives_metrics_and_health_only(system: System) -> None:
    for program in (system.exporter, system.scaler):
        with httpx.Client(base_url=program.url) as client:
            assert {client.get(path).status_code for path in ("/metrics", "/healthz", "/readyz")} == {200}
            assert {client.get(path).status_code for path in ("/status.json", PATH)} == {401}
        samples = program.samples()
        assert samples['oxherd_api_refused_total{reason="missing"}'] >= 2
        assert 1 <= samples["oxherd_http_connections"] <= samples["oxherd_http_max_connections"]
        assert 'oxherd_http_refused_total{reason="full"}' in samples


def test_the_page_shows_the_status_of_a_scaler_that_requires_a_key(system: System) -> None:
    with httpx.Client(base_url=system.exporter.url, follow_redirects=True) as browser:
        assert "notifications" not in browser.get("/").text
        assert "notifications" in browser.post("/sign-in", data={"key": FULL}).text
        wait_until(
            lambda: '<td class="name">mail</td>' in _scaling(browser), what=_scaling(browser), seconds=60
        )
        assert browser.post(PATH, json={"action": "stop_monitoring"}).status_code == 401


def _scaling(browser: httpx.Client) -> str:
    return browser.get("/").text.partition('<section id="scaling"')[2].partition("</section>")[0]


def test_a_scaler_that_does_not_answer_is_reported(system: System) -> None:
    system.scaler.process.send_signal(19)
    try:
        answer = system.exporter.client.get(PATH, params={"action": "scaling_status"})
    finally:
        system.scaler.process.send_signal(18)
    assert (answer.status_code, answer.json()["error"]) == (504, "the scaler did not answer within 5 s")
