from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.api import actions
from exporter.assessment import Assessment
from exporter.config.shard import QueueShard
from exporter.health import assess
from exporter.snapshot.schedulers import QueueSchedulers, Scheduler
from exporter.views import About, status_view
from service.api.envelope import ApiError, to_json_data
from service.outcome import Ok
from tests.support.assessments import assessment
from tests.support.health_cases import BASE, DEFAULTS
from tests.support.work_cases import queue, state_of

HOURLY = Scheduler("hourly", "report", True, 900.0, 30.0, 3600.0, None, None, None, None, 2, "pending")


def test_queue_metrics_have_the_schedulers_and_which_are_late() -> None:
    mail, idle = queue(waiting=0, workers=1), queue("idle", waiting=0, workers=1)
    listed = (HOURLY, HOURLY._replace(id="next", next_run=1030.0, every=None, pattern="0 3 * * *"))
    state = state_of(mail, idle, schedulers={mail.id: QueueSchedulers(listed, 1000.0, unread=7)})
    snapshot = replace(BASE, bullmq=Ok(state))
    view = status_view(Assessment(snapshot, assess(snapshot, DEFAULTS)), About("1", monitoring=True))
    idle_data, mail_data = to_json_data(actions.queue_metrics(view))["queues"]
    assert idle_data["jobSchedulers"] is None
    assert (mail_data["jobSchedulers"]["count"], mail_data["jobSchedulers"]["unread"]) == (9, 7)
    late, ahead = mail_data["jobSchedulers"]["schedulers"]
    assert late == {
        "id": "hourly",
        "name": "report",
        "every": 3600.0,
        "pattern": None,
        "timezone": None,
        "nextRun": 900.0,
        "lastRun": 30.0,
        "lateness": 100.0,
        "issue": "scheduler_late",
        "job": "pending",
        "iterations": 2,
        "limit": None,
        "endsAt": None,
    }
    assert (ahead["id"], ahead["lateness"], ahead["issue"], ahead["pattern"]) == (
        "next",
        0.0,
        None,
        "0 3 * * *",
    )
    (issue,) = to_json_data(actions.health_check(view))["issues"]
    assert issue["affected"] == [
        {"subject": "mail: hourly", "value": 100.0, "prefix": "bull", "queue": "mail"}
    ]


def test_a_shard_says_which_part_of_the_queues_it_has() -> None:
    about = About("1.2.3", monitoring=True, uptime=1.0)
    whole = status_view(assessment(), about)
    part = status_view(assessment(), replace(about, shard=QueueShard(2, 3), shard_urls=("http://a",)))
    for make in (actions.overall, actions.health_check, actions.queue_metrics):
        whole_shard, shard = make(whole).shard, make(part).shard
        assert whole_shard is None
        assert shard is not None
        assert (shard.number, shard.shards) == (2, 3)
    with pytest.raises(ApiError, match=r"^there is no queue 'other' in shard 2 of 3$"):
        actions.queue_metrics(part, "other")
