"""The views of several shards as one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from exporter.assessment import Assessment
from exporter.commands.exit_code import area_exit_code, exit_code
from exporter.commands.shards import NotShardsError, merge_shards
from exporter.conditions.finding import Affected
from exporter.config.shard import QueueShard
from exporter.health import of_issues
from exporter.snapshot.queues import BullMQState, LeftOut, LeftOutReason, Search
from exporter.snapshot.whole import Snapshot
from exporter.summaries import queues_line, search_lines, shard_line
from exporter.views import About, View, status_view
from service.catalogs import ENGLISH
from service.outcome import Failed, Ok
from tests.support.assessments import assessment, issue, queue


def shard(number: int, *names: str, shards: int = 3, issues: tuple[Any, ...] = (), up: bool = True) -> View:
    """The view of a shard with these queues."""
    state = BullMQState(
        tuple(queue(name) for name in names), {} if up else {queue("lost").id: Failed("timeout", "no answer")}
    )
    whole = assessment().snapshot
    snapshot = whole if number == 1 else Snapshot(whole.taken_at, process=whole.process)
    part = Assessment(replace(snapshot, bullmq=Ok(state)), of_issues(list(issues)))
    return status_view(part, About("1.2.3", monitoring=True, uptime=1.0, shard=QueueShard(number, shards)))


def merged(*views: View, **failures: str) -> View:
    return merge_shards({f"http://{view['shard']['number']}": view for view in views}, failures)


def names(view: View) -> list[str]:
    return [one["name"] for one in view["queues"]["queues"]]


def test_queues_of_all_and_redis_of_the_first() -> None:
    view = merged(shard(3, "c"), shard(1, "b"), shard(2, "a", "d"))
    assert names(view) == ["a", "b", "c", "d"]
    assert view["redis"] is not None
    assert view["host"] is not None
    assert (view["shard"]["there"], view["shard"]["missing"]) == (3, [])
    assert shard_line(view, ENGLISH) == "all 3 shards of the queues; the score is the lowest of theirs"
    states = {source["name"]: source["state"] for source in view["sources"]}
    assert (states["redis"], states["bullmq"]) == ("ok", "ok")
    assert (exit_code(view), area_exit_code(view, "bullmq"), area_exit_code(view, "redis")) == (0, 0, 0)


def test_an_issue_of_several_shards_is_one_and_the_score_is_the_lowest() -> None:
    few = replace(issue("queue_standing_still", "bullmq", 30), affected=(Affected("a", 60.0),))
    many = replace(few, affected=(Affected("d", 600.0), Affected("e", 5.0)))
    other = issue("events_lost", "bullmq", 5)
    view = merged(shard(1, "a", issues=(few,)), shard(2, "d", issues=(many, other)), shard(3, "f"))
    health = view["health"]
    assert (health["score"], health["status"]) == (65, "critical")
    assert [one["name"] for one in health["issues"]] == ["queue_standing_still", "events_lost"]
    assert [one["subject"] for one in health["issues"][0]["affected"]] == ["d", "a", "e"]


def test_a_shard_without_an_answer_is_a_missing_part() -> None:
    """What is there is shown, and nothing takes it for all."""
    why = "no exporter at http://2"
    view = merge_shards({"http://1": shard(1, "a"), "http://3": shard(3, "c")}, {"http://2": why})
    assert names(view) == ["a", "c"]
    assert view["shard"]["missing"] == [why]
    assert shard_line(view, ENGLISH) == f"2 of 3 shards of the queues: {why}"
    assert (exit_code(view), area_exit_code(view, "bullmq"), area_exit_code(view, "redis")) == (2, 2, 0)


def test_without_the_first_redis_is_not_known() -> None:
    view = merge_shards({"http://2": shard(2, "a"), "http://3": shard(3, "c")}, {"http://1": "down"})
    assert (view["redis"], view["host"]) == (None, None)
    assert area_exit_code(view, "redis") == 2
    redis = next(source for source in view["sources"] if source["name"] == "redis")
    assert (redis["state"], redis["why"]) == ("off", "shard 1 of 3 reads it")


def test_a_shard_whose_url_was_forgotten_is_missing() -> None:
    view = merged(shard(1, "a"), shard(3, "c"))
    assert view["shard"]["missing"] == ["no URL of shard 2 is given"]


def test_a_shard_that_cannot_read_its_queues_says_which_it_is() -> None:
    view = merged(shard(1, "a"), shard(2, "b", up=False), shard(3))
    source = next(source for source in view["sources"] if source["name"] == "bullmq")
    assert (source["state"], source["why"]) == ("partial", "shard 2: 1 of 2 queues could not be read")
    assert view["queues"]["up"] is False
    assert [one["name"] for one in view["queues"]["unread"]] == ["lost"]


def test_a_shard_that_is_switched_off_is_missing() -> None:
    about = About("1.2.3", monitoring=False, shard=QueueShard(2, 3))
    views = {"http://1": shard(1, "a"), "http://2": status_view(None, about), "http://3": shard(3, "c")}
    view = merge_shards(views, {})
    assert [text.partition(":")[0] for text in view["shard"]["missing"]] == ["http"]
    assert "switched off" in view["shard"]["missing"][0]


@pytest.mark.parametrize(
    ("views", "why"),
    [
        ([shard(1), shard(1)], "http://0 and http://1 are both shard 1 of 3"),
        ([shard(1), shard(2, shards=4)], "http://0 is of 3 shards, and http://1 of 4"),
        (
            [shard(1), status_view(assessment(), About("1", monitoring=True))],
            "the exporter at http://1 watches all queues: it is no shard",
        ),
    ],
)
def test_what_is_no_division(views: list[View], why: str) -> None:
    with pytest.raises(NotShardsError, match=f"^{why}$"):
        merge_shards({f"http://{number}": view for number, view in enumerate(views)}, {})


def test_what_no_shard_has_room_for_is_added_up() -> None:
    def crowded(number: int, count: int, *, more: bool = False) -> View:
        left: dict[LeftOutReason, LeftOut] = {"max_queues": LeftOut(count, more, (queue("x").id,))}
        part, state = shard(number, "a"), BullMQState((), search=Search(left_out=left, most=10))
        snapshot = Snapshot(1.0, bullmq=Ok(state))
        view = status_view(Assessment(snapshot, of_issues([])), About("1.2.3", monitoring=True))
        return {**part, "queues": {**part["queues"], "search": view["queues"]["search"]}}

    view = merged(crowded(1, 5), crowded(2, 7, more=True), shard(3, "f"))
    [left] = view["queues"]["search"]["left_out"]
    assert (left["reason"], left["count"], left["at_least"]) == ("max_queues", 12, True)
    assert "12 not watched" in queues_line(view["queues"], ENGLISH)
    assert search_lines(view["queues"], ENGLISH)[0].startswith("12 queues are not watched, as there are more")
