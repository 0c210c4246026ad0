from __future__ import annotations

import json
from dataclasses import replace

from exporter.assessment import Assessment
from exporter.snapshot.queues import BullMQState, QueueId
from exporter.snapshot.schedulers import QueueSchedulers, Scheduler
from exporter.snapshot.whole import Snapshot
from exporter.views import About, Task, issue_text, status_view
from service.catalogs import ENGLISH, TRANSLATORS
from service.i18n import Message
from service.outcome import Failed, Ok
from tests.support.assessments import (
    MASTER,
    NASTY,
    REPLICA,
    assessment,
    healthy_assessment,
    issue,
    queue,
    redis_state,
)

ABOUT = About("1.2.3", monitoring=True, uptime=5.0, tasks=(Task("discovery", True, 1.0, 0),))


def test_it_is_json() -> None:
    for case in (assessment(), healthy_assessment(), None):
        view = status_view(case, ABOUT)
        assert json.loads(json.dumps(view, allow_nan=False)) == view


def test_an_issue_in_english_and_as_messages() -> None:
    title = Message("issue.more_nodes", count=2)
    renamed = replace(issue(), title=title)
    (view,) = json.loads(json.dumps(status_view(assessment(issues=(renamed,)), ABOUT)["health"]["issues"]))
    assert view["title"] == "and 2 more nodes"
    assert view["messages"]["title"] == {"id": "issue.more_nodes", "parameters": {"count": 2}}
    assert issue_text(view, "title", TRANSLATORS["id"]) == "dan 2 node lagi"
    assert issue_text(view, "title", ENGLISH) == "and 2 more nodes"


def test_an_issue_of_another_version_keeps_its_english_text() -> None:
    (view,) = status_view(assessment(), ABOUT)["health"]["issues"]
    newer = view["messages"] | {"title": Message("issue.nowhere").to_json()}
    older = {key: value for key, value in view.items() if key != "messages"}
    for other in (view | {"messages": newer}, older):
        assert issue_text(other, "title", TRANSLATORS["id"]) == "title of cluster_node_unhealthy"


def test_sources() -> None:
    sources = {source["name"]: source for source in status_view(assessment(), ABOUT)["sources"]}
    assert {name: source["state"] for name, source in sources.items()} == {
        "redis": "ok",
        "bullmq": "partial",
        "host": "ok",
        "process": "failed",
        "probes": "off",
    }
    assert sources["bullmq"]["why"] == "1 of 3 queues could not be read"
    assert sources["process"]["why"] == f"late {NASTY}"
    assert [source["state"] for source in status_view(healthy_assessment(), ABOUT)["sources"]] == [
        "off",
        "off",
        "off",
        "ok",
        "off",
    ]


def test_nodes() -> None:
    redis = status_view(assessment(), ABOUT)["redis"]
    assert (redis["mode"], redis["reachable"], redis["slots_covered"]) == ("cluster", True, 16384)
    assert redis["failovers"] == {"0": 2}
    master, replica = redis["nodes"]
    assert (master["address"], master["up"], master["why"]) == (MASTER, True, "")
    assert (master["memory_used_bytes"], master["hit_ratio"], master["version"]) == (1048576.0, 0.75, "7.2.4")
    assert master["uptime_seconds"] is None  # "nan" is no number to show
    assert (replica["address"], replica["up"], replica["healthy"]) == (REPLICA, False, False)
    assert replica["why"] == "no answer in time"
    assert replica["memory_used_bytes"] is None


def test_a_failed_source_has_no_data() -> None:
    snapshot = Snapshot(1.0, redis=Failed("unreachable", "no"), bullmq=Failed("unreachable", "no"))
    view = status_view(Assessment(snapshot, assessment().health), ABOUT)
    assert (view["redis"], view["queues"], view["host"]) == (None, None, None)


def test_a_single_server_has_no_slots() -> None:
    state = redis_state()
    alone = type(state)(type(state.topology)("standalone", state.topology.nodes[:1]), state.nodes)
    view = status_view(Assessment(Snapshot(1.0, redis=Ok(alone)), healthy_assessment().health), ABOUT)
    assert view["redis"]["slots_covered"] is None
    assert len(view["redis"]["nodes"]) == 1


def test_queues() -> None:
    queues = status_view(assessment(), ABOUT)["queues"]
    assert queues["up"] is False
    assert queues["unread"] == [{"prefix": "bull", "name": "lost", "why": "NOPERM no"}]
    assert queues["problems"] == ["SCAN refused"]
    assert [queue["name"] for queue in queues["queues"]] == [NASTY, "mail"]
    mail = queues["queues"][1]
    assert (mail["waiting"], mail["failed"], mail["oldest_waiting"]) == (1200, 7, 61.0)
    assert mail["longest_active"] is None
    assert mail["load_factor"] == 1.0


def test_a_name_of_any_bytes() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    view = status_view(assessment(queues=(queue(name),)), ABOUT)
    assert json.dumps(view, ensure_ascii=False).encode()
    assert view["queues"]["queues"][0]["name"] == "caf\\xe9"


def test_the_exporter_itself() -> None:
    view = status_view(None, ABOUT)
    assert (view["name"], view["version"], view["uptime_seconds"]) == ("oxherd", "1.2.3", 5.0)
    assert view["background"] == [{"name": "discovery", "alive": True, "age_seconds": 1.0, "restarts": 0}]
    assert (view["health"], view["sources"]) == (None, [])


def test_a_refused_search_is_a_failure_with_its_reason() -> None:
    state = BullMQState((), discovered=False, problems=("SCAN at a:1: NOPERM",), search_refused=True)
    assessment = Assessment(Snapshot(1.0, bullmq=Ok(state)), healthy_assessment().health)
    (source,) = [source for source in status_view(assessment, ABOUT)["sources"] if source["name"] == "bullmq"]
    assert (source["state"], source["why"]) == ("failed", "SCAN at a:1: NOPERM")


def scheduled(*schedulers: Scheduler, unread: int = 0) -> Assessment:
    state = BullMQState(
        (queue(), queue("idle")),
        schedulers={QueueId("bull", "mail"): QueueSchedulers(schedulers, 100.0, unread)},
    )
    return replace(assessment(), snapshot=Snapshot(100.0, bullmq=Ok(state)))


HOURLY = Scheduler("hourly", "report", True, 90.0, 30.0, 60.0, None, None, None, None, 2, "pending")


def test_the_schedulers_of_a_queue() -> None:
    queues = status_view(scheduled(HOURLY, HOURLY._replace(id="next", next_run=130.0)), ABOUT)["queues"]
    idle, mail = queues["queues"]
    assert idle["job_schedulers"] is None
    late, ahead = mail["job_schedulers"].pop("schedulers")
    assert mail["job_schedulers"] == {"count": 2, "unread": 0}
    assert late == {
        "id": "hourly",
        "name": "report",
        "every": 60.0,
        "pattern": None,
        "timezone": None,
        "next_run": 90.0,
        "last_run": 30.0,
        "lateness": 10.0,
        "issue": None,
        "job": "pending",
        "iterations": 2,
        "limit": None,
        "ends_at": None,
    }
    assert (ahead["id"], ahead["lateness"]) == ("next", 0.0)


def test_a_view_has_the_latest_of_many_schedulers() -> None:
    many = [HOURLY._replace(id=str(at), next_run=float(at)) for at in range(500)]
    _, mail = status_view(scheduled(*many, unread=7), ABOUT)["queues"]["queues"]
    assert (mail["job_schedulers"]["count"], mail["job_schedulers"]["unread"]) == (507, 7)
    assert [each["id"] for each in mail["job_schedulers"]["schedulers"]] == [str(at) for at in range(100)]
