from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.placement import SlotMap
from exporter.condition_table import CONDITION_TABLE
from exporter.conditions.finding import Affected
from exporter.config.health import HealthSettings, Penalties, Thresholds
from exporter.health import RULES, Health, Issue, assess, of_issues, status_of
from exporter.snapshot.queues import BullMQState, QueueId
from exporter.snapshot.redis import RedisState, Topology, TopologyNode
from service.catalogs import ENGLISH, TRANSLATORS
from service.i18n import Message, Translator
from service.outcome import Ok
from tests.support.health_cases import (
    BASE,
    CASES,
    DEFAULTS,
    GIB,
    NODES,
    SILENT,
    Change,
    bullmq,
    erring,
    host,
    looking,
    part,
    queue,
    reading,
    redis,
    topology,
    unsaved,
)


@pytest.mark.parametrize(("change", "taken"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_which_issues_have_which_penalties(change: Change, taken: dict[str, float]) -> None:
    health = assess(change(BASE), DEFAULTS)
    assert {issue.name: issue.penalty for issue in health.issues} == taken
    assert health.score == 100 - sum(taken.values())


@pytest.mark.parametrize("change", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_each_issue_has_its_measured_value_threshold_and_recommendation(change: Change) -> None:
    for issue in assess(change(BASE), DEFAULTS).issues:
        assert all((*texts(issue), issue.source))


def texts(issue: Issue, translator: Translator = ENGLISH) -> tuple[str, ...]:
    messages = (issue.title, issue.measured, issue.threshold, issue.recommendation)
    return tuple(translator.render(message) for message in messages)


def only(change: Change) -> str:
    (issue,) = assess(change(BASE), DEFAULTS).issues
    return " | ".join(texts(issue)[1:])


@pytest.mark.parametrize("change", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_each_issue_is_in_indonesian_with_the_same_commands(change: Change) -> None:
    for issue in assess(change(BASE), DEFAULTS).issues:
        indonesian = texts(issue, TRANSLATORS["id"])
        for message, english, text in zip(
            (issue.title, issue.measured, issue.threshold, issue.recommendation),
            texts(issue),
            indonesian,
            strict=True,
        ):
            assert (text == english) == (message.id == "issue.text" and not nested(message))
        commands = re.findall(r"(?:redis-cli|ps aux|top -o) [^;:,]*[a-zA-Z0-9]", texts(issue)[-1])
        assert all(command in indonesian[-1] for command in commands)


def nested(message: Message) -> bool:
    text = message.parameters["text"]
    return isinstance(text, tuple) and any(isinstance(item, Message) for item in text)


def test_memory_names_its_limit_and_its_node() -> None:
    assert "a:1 uses 90% of its maxmemory" in only(redis(a=reading(used_memory=9 * GIB)))
    unlimited = only(redis(b=reading(maxmemory=0, used_memory=90 * GIB)))
    assert "b:1 uses 90% of its host's memory" in unlimited


def test_failed_jobs_name_their_source_and_the_worst_queue() -> None:
    text = only(bullmq(queue(10), queue(90, "sms")))
    assert "100 jobs failed in the last hour, 90 of them in sms (of each queue the larger" in text


def test_a_queue_name_that_is_not_utf8_is_printable() -> None:
    lost = BullMQState((), {QueueId("bull", "caf\udce9"): SILENT})
    for change in (bullmq(queue(90, "caf\udce9")), part(bullmq=Ok(lost))):
        text = only(change)
        assert "caf\\xe9" in text
        assert text.encode()


def test_a_node_that_does_not_answer_is_named_with_the_reason() -> None:
    assert "b:1: no answer in time" in only(redis(b=SILENT))


def test_the_recommended_command_fits_the_deployment() -> None:
    assert "of b:1, and what a node that answers reports: redis-cli -h a -p 1 cluster nodes" in only(
        redis(b=SILENT)
    )
    sentinel = RedisState(Topology("sentinel", NODES), {"a:1": reading(), "b:1": SILENT})
    assert "redis-cli -h a -p 1 info replication" in only(part(redis=Ok(sentinel)))
    assert "redis-cli -h a -p 1 ping" in only(redis(b=SILENT, a=SILENT))
    assert "redis-cli --cluster check a:1" in only(topology(replace(NODES[0], slots=()), NODES[1]))


def test_redis_cli_gets_an_ipv6_address_without_brackets() -> None:
    node = TopologyNode("[fd00::1]:6379", "master", "0")
    full = RedisState(Topology("standalone", (node,)), {node.address: reading(used_memory=9 * GIB)})
    assert "redis-cli -h fd00::1 -p 6379 --bigkeys" in only(part(redis=Ok(full)))


def test_slots_without_an_owner_are_listed_before_silent_nodes() -> None:
    nodes = [TopologyNode(f"n{number}:1", "replica", "0", healthy=False) for number in range(9)]
    text = only(topology(NODES[1], *nodes))
    assert text.startswith("16384 of 16384 slots have no owner; ")
    assert "and 7 more" in text


def test_a_refused_search_names_the_reason_and_the_missing_rights() -> None:
    text = only(looking("SCAN: NOPERM", refused=True))
    assert "SCAN: NOPERM" in text
    assert "deploy/redis/exporter.acl" in text
    assert "redis-cli -h a -p 1 acl log" in text


def test_a_queue_has_its_prefix_where_there_are_several() -> None:
    failing = queue(failed_last_hour=99)
    assert "99 of them in mail (" in only(bullmq(failing))
    other = failing._replace(id=QueueId("app", "mail"), failed_last_hour=0)
    assert "99 of them in bull:mail (" in only(bullmq(failing, other))


def test_unread_queues_of_a_redis_that_answers_point_to_the_slow_log() -> None:
    assert "redis-cli -h a -p 1 slowlog get 10" in only(bullmq(queue(), unread=1))


def test_the_command_for_the_newest_failed_job_quotes_the_name_of_the_queue() -> None:
    text = only(bullmq(queue(99, "it's $HOME")))
    assert """redis-cli -h a -p 1 -c zrevrange 'bull:it'"'"'s $HOME:failed' 0 0""" in text
    assert "hget bull:mail:ID failedReason" in only(bullmq(queue(99)))


def test_unread_queues_of_a_redis_that_is_down_point_to_redis() -> None:
    issues = {issue.name: issue for issue in assess(part(redis=SILENT, bullmq=SILENT)(BASE), DEFAULTS).issues}
    recommendation = ENGLISH.render(issues["queue_system_down"].recommendation)
    assert recommendation == "Bring Redis back first; the queues follow."


@pytest.mark.parametrize(
    ("score", "status"),
    [
        (100, "healthy"),
        (90, "healthy"),
        (89.9, "warning"),
        (70, "warning"),
        (69.9, "critical"),
        (0, "critical"),
    ],
)
def test_statuses(score: float, status: str) -> None:
    assert status_of(score) == status


def test_times_of_refusals_are_a_setting() -> None:
    settings = HealthSettings(thresholds=Thresholds(redis_recent_seconds=10))
    for name in ("READONLY", "rejected_connections"):
        assert assess(redis(b=erring(9, 200, None, **{name: 9}))(BASE), settings).issues
        assert not assess(redis(b=erring(11, 200, None, **{name: 9}))(BASE), settings).issues


def test_a_shard_without_queues_may_lose_what_it_has() -> None:
    halves = (
        TopologyNode("a:1", "master", "0", slots=((0, 8191),)),
        TopologyNode("b:1", "master", "1", slots=((8192, 16383),)),
    )
    memory = {"a:1": unsaved(connected_slaves=0), "b:1": unsaved(connected_slaves=0)}
    state = RedisState(Topology("cluster", halves), memory)
    (issue,) = assess(part(redis=Ok(state))(BASE), DEFAULTS).issues
    owner = SlotMap(state.topology).owner(queue().id)
    assert issue.affected == (Affected(owner or "", 7201.0),)


def test_penalties_and_thresholds_are_settings() -> None:
    settings = HealthSettings(
        thresholds=Thresholds(failed_jobs=5),
        penalties=Penalties.model_validate({"failed_jobs_high": 0, "redis_unreachable": 99}),
    )
    health = assess(bullmq(queue(6))(BASE), settings)
    assert [(issue.name, issue.penalty) for issue in health.issues] == [("failed_jobs_high", 0)]
    assert health.score == 100
    assert assess(part(redis=SILENT)(BASE), settings).score == 1


def test_every_condition_of_the_table_has_its_rule_and_its_penalty() -> None:
    assert set(RULES) == set(CONDITION_TABLE) == set(Penalties.model_fields)
    assert {name: row.points for name, row in CONDITION_TABLE.items()} == Penalties().model_dump()


_BY_THE_USERS_TABLE = {"redis_unreachable", "queue_system_down", "redis_memory_high", "host_load_high"}


def test_one_condition_has_the_band_of_its_severity() -> None:
    """But for those whose points are older than severities; they seldom come alone."""
    bands = {"critical": {"critical"}, "high": {"warning"}, "medium": {"healthy", "warning"}}
    for name in CONDITION_TABLE.keys() - _BY_THE_USERS_TABLE:
        row = CONDITION_TABLE[name]
        assert status_of(100 - row.points) in bands[row.severity], name
        assert row.severity != "medium" or row.points <= 15, name


def test_a_condition_has_an_alert_or_a_reason_for_none() -> None:
    assert not [row.name for row in CONDITION_TABLE.values() if bool(row.alert) == bool(row.unpaged)]


messages = st.just(Message("issue.text", text="x"))
issues = st.lists(
    st.builds(Issue, *[st.just("x")] * 2, st.floats(0, 100), st.just("high"), *[messages] * 4), max_size=20
)


@given(issues, issues)
def test_another_issue_never_raises_the_score(some: list[Issue], more: list[Issue]) -> None:
    before, after = of_issues(some), of_issues(some + more)
    assert 0 <= after.score <= before.score <= 100
    assert len(after.issues) == len(some) + len(more)


changes = st.lists(st.sampled_from([case[1] for case in CASES]), max_size=8)
penalties = st.builds(Penalties, **{name: st.floats(0, 100) for name in Penalties.model_fields})


def judged(applied: list[Change], settings: HealthSettings) -> Health:
    snapshot = BASE
    for change in applied:
        snapshot = change(snapshot)
    return assess(snapshot, settings)


@given(changes, penalties)
def test_the_score_is_bounded_and_the_highest_penalty_is_first(
    applied: list[Change], points: Penalties
) -> None:
    health = judged(applied, HealthSettings(penalties=points))
    assert 0 <= health.score <= 100
    assert health.status == status_of(health.score)
    costs = [issue.penalty for issue in health.issues]
    assert costs == sorted(costs, reverse=True)


@given(
    st.integers(0, 20 * GIB),
    st.integers(0, 200),
    st.floats(0, 100),
    st.integers(0, 10 * GIB),
    st.sampled_from(["memory", "failed", "load", "available", "node", "queue"]),
    penalties,
)
def test_a_worse_measurement_never_raises_the_score(  # hypothesis gives one a measurement
    used: int, failed: int, load: float, available: int, worse: str, points: Penalties
) -> None:
    def score(*, used: int, failed: int, load: float, available: int, lost: int, node: bool) -> float:
        snapshot = bullmq(queue(failed), unread=lost)(BASE)
        snapshot = host(load=(load, 0.0, 0.0), memory_available=available)(snapshot)
        ill = SILENT if node else reading()
        snapshot = redis(a=reading(used_memory=used), b=ill)(snapshot)
        return assess(snapshot, HealthSettings(penalties=points)).score

    before = score(used=used, failed=failed, load=load, available=available, lost=0, node=False)
    after = score(
        used=used * 2 if worse == "memory" else used,
        failed=failed * 2 if worse == "failed" else failed,
        load=load * 2 if worse == "load" else load,
        available=available // 2 if worse == "available" else available,
        lost=int(worse == "queue"),
        node=worse == "node",
    )
    assert after <= before
