from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.condition_table import CONDITION_TABLE
from exporter.config.settings import HealthSettings, Penalties, Thresholds
from exporter.health import RULES, Health, Issue, assess, of_issues, status_of
from exporter.snapshot import (
    BullMQState,
    HostState,
    Info,
    JobCounts,
    NodeReading,
    ProcessState,
    QueueId,
    QueueState,
    Rates,
    RedisState,
    Search,
    Snapshot,
    Topology,
    TopologyNode,
)
from service.catalogs import ENGLISH, TRANSLATORS
from service.i18n import Message, Translator
from service.outcome import Failed, Ok, Outcome

GIB = 1 << 30
SILENT = Failed("timeout", "no answer in time")
DEFAULTS = HealthSettings()
Change = Callable[[Snapshot], Snapshot]


def reading(**fields: object) -> Ok[NodeReading]:
    given = {"used_memory": GIB, "maxmemory": 10 * GIB, "total_system_memory": 100 * GIB} | fields
    return Ok(NodeReading(Info({name: str(value) for name, value in given.items() if value is not None})))


def queue(failed_last_hour: int = 0, name: str = "mail", failed: int = 10_000) -> QueueState:
    jobs = JobCounts(0, 0, 0, 0, 0, 0, failed)
    return QueueState(QueueId("bull", name), jobs, False, 0, 0, 0, failed_last_hour)


NODES = (
    TopologyNode("a:1", "master", "0", slots=((0, 16383),)),
    TopologyNode("b:1", "replica", "0", master="a:1"),
)
REDIS = RedisState(Topology("cluster", NODES), {"a:1": reading(), "b:1": reading()})
HOST = HostState({}, 4.0, 4, (1.0, 1.0, 1.0), 10 * GIB, 5 * GIB, 5 * GIB, 0, 0.0)
BASE = Snapshot(1.0, Ok(REDIS), Ok(BullMQState((queue(),))), Ok(HOST), Ok(ProcessState(GIB // 10, None)))


def redis(**nodes: Outcome[NodeReading]) -> Change:
    """The cluster with these nodes' readings (`a` and `b`)."""
    readings = {**REDIS.nodes, **{f"{name}:1": outcome for name, outcome in nodes.items()}}
    return lambda snapshot: replace(snapshot, redis=Ok(replace(REDIS, nodes=readings)))


def with_facts(outcome: Ok[NodeReading], **facts: object) -> Ok[NodeReading]:
    return replace(outcome, value=replace(outcome.value, **facts))  # type: ignore[arg-type]


def erring(**recent: int) -> Ok[NodeReading]:
    return with_facts(reading(), recent_errors=recent)


def bgsave_failed(**recent: int) -> Ok[NodeReading]:
    return with_facts(reading(rdb_last_bgsave_status="err"), recent_errors=recent)


def connected(clients: int, limit: int | None) -> Ok[NodeReading]:
    return with_facts(reading(connected_clients=clients), maxclients=limit)


def clock(offset: float) -> Ok[NodeReading]:
    return with_facts(reading(), clock_offset=offset)


def unlinked(since: int = 7, **fields: object) -> Ok[NodeReading]:
    facts = {"master_link_status": "down", "master_link_down_since_seconds": since}
    return reading(**facts, master_host="10.0.0.1", master_port=7001, **fields)


def evicting_cache(snapshot: Snapshot) -> Snapshot:
    return bullmq()(redis(a=reading(maxmemory_policy="allkeys-lru"))(snapshot))


def topology(*nodes: TopologyNode) -> Change:
    return lambda snapshot: replace(snapshot, redis=Ok(replace(REDIS, topology=Topology("cluster", nodes))))


def bullmq(*queues: QueueState, unread: int = 0, discovered: bool = True) -> Change:
    lost = {QueueId("bull", f"lost{number}"): SILENT for number in range(unread)}
    return lambda snapshot: replace(snapshot, bullmq=Ok(BullMQState(queues, lost, discovered)))


def followed(state: QueueState, *, failed: int = 0, lost: int = 0) -> Change:
    rates = Rates(300.0, 0.0, 0.0, None, None, None, None, None, failed, lost, completed_last_hour=999)
    return lambda snapshot: replace(snapshot, bullmq=Ok(BullMQState((state,), rates={state.id: rates})))


def unfollowed(state: QueueState, why: str) -> Change:
    return lambda snapshot: replace(
        snapshot, bullmq=Ok(BullMQState((state,), events={}, unfollowed={state.id: why}))
    )


def looking(problem: str, *queues: QueueState, refused: bool) -> Change:
    state = BullMQState(queues, discovered=False, problems=(problem,), search_refused=refused)
    return lambda snapshot: replace(snapshot, bullmq=Ok(state))


def searched(*queues: QueueState, refused: int) -> Change:
    candidates = {QueueId("app", f"q{number}"): "NOPERM no key" for number in range(refused)}
    state = BullMQState(queues, search=Search(ended_at=1.0, refused=candidates))
    return lambda snapshot: replace(snapshot, bullmq=Ok(state))


def host(**fields: object) -> Change:
    return lambda snapshot: replace(snapshot, host=Ok(replace(HOST, **fields)))  # type: ignore[arg-type]


def process(resident: int, limit: int | None) -> Change:
    return lambda snapshot: replace(snapshot, process=Ok(ProcessState(resident, limit)))


def part(**outcomes: object) -> Change:
    return lambda snapshot: replace(snapshot, **outcomes)  # type: ignore[arg-type]


UNWELL = replace(NODES[1], healthy=False, why="failed, say 1 of 1 nodes")

EVICTS = {"redis_evicts_keys": 15.0}

CASES: list[tuple[str, Change, dict[str, float]]] = [
    ("no issue", lambda snapshot: snapshot, {}),
    ("everything is switched off", part(redis=None, bullmq=None, host=None, process=None), {}),
    ("no node answers", redis(a=SILENT, b=SILENT), {"redis_unreachable": 30}),
    ("Redis could not be collected", part(redis=SILENT), {"redis_unreachable": 30}),
    ("one node does not answer", redis(b=SILENT), {"cluster_node_unhealthy": 20}),
    ("the others doubt a node", topology(NODES[0], UNWELL), {"cluster_node_unhealthy": 20}),
    (
        "slots without an owner",
        topology(replace(NODES[0], slots=((0, 16382),)), NODES[1]),
        {"cluster_node_unhealthy": 20},
    ),
    ("memory just at 80 % of maxmemory", redis(a=reading(used_memory=8 * GIB)), {}),
    (
        "memory just over 80 % of maxmemory",
        redis(a=reading(used_memory=8 * GIB + 1)),
        {"redis_memory_high": 15},
    ),
    ("no maxmemory, 80 % of the host", redis(b=reading(maxmemory=0, used_memory=80 * GIB)), {}),
    (
        "no maxmemory, over 80 % of the host",
        redis(b=reading(maxmemory=0, used_memory=81 * GIB)),
        {"redis_memory_high": 15},
    ),
    (
        "neither maxmemory nor the host's memory is known",
        redis(a=reading(maxmemory=0, total_system_memory=None, used_memory=99 * GIB)),
        {},
    ),
    ("a snapshot failed, no write was refused", redis(a=bgsave_failed()), {"redis_save_failing": 15}),
    (
        "a snapshot failed, writes are refused",
        redis(a=bgsave_failed(MISCONF=3)),
        {"redis_writes_refused": 35},
    ),
    ("a snapshot failed, and succeeded since", redis(a=erring(MISCONF=3)), {}),
    (
        "one node refuses writes, another one only fails to save",
        redis(a=bgsave_failed(MISCONF=3), b=bgsave_failed()),
        {"redis_writes_refused": 35, "redis_save_failing": 15},
    ),
    (
        "the append-only file cannot be written",
        redis(a=reading(aof_last_write_status="err")),
        {"redis_writes_refused": 35},
    ),
    ("writes over maxmemory", redis(a=erring(OOM=1)), {"redis_writes_refused": 35}),
    ("writes to a replica", redis(b=erring(READONLY=1)), {"redis_writes_refused": 35}),
    ("errors of other kinds", redis(b=erring(ERR=9, WRONGTYPE=9, NOSCRIPT=9, other=9)), {}),
    (
        "no replica of those that a write needs",
        redis(a=reading(role="master", min_slaves_good_slaves=0)),
        {"redis_writes_refused": 35},
    ),
    ("a replica of those that a write needs", redis(a=reading(role="master", min_slaves_good_slaves=1)), {}),
    ("a replica needs none", redis(b=reading(role="slave", min_slaves_good_slaves=0)), {}),
    ("a limit that evicts", redis(a=reading(maxmemory_policy="allkeys-lru")), {"redis_evicts_keys": 15}),
    ("a limit that evicts what expires", redis(a=reading(maxmemory_policy="volatile-ttl")), EVICTS),
    ("no limit that evicts", redis(a=reading(maxmemory=0, maxmemory_policy="allkeys-lru")), {}),
    ("a limit that does not evict", redis(a=reading(maxmemory_policy="noeviction")), {}),
    ("a cache without queues", evicting_cache, {"no_queue_found": 15}),
    ("a replica without its master", redis(b=unlinked()), {"replication_broken": 15}),
    ("a replica that never had its master", redis(b=unlinked(-1)), {"replication_broken": 15}),
    ("a replica that receives its first copy", redis(b=unlinked(master_sync_in_progress=1)), {}),
    ("90 % of maxclients", redis(a=connected(9, 10)), {}),
    (
        "over 90 % of maxclients",
        redis(a=connected(91, 100), b=connected(99, 100)),
        {"redis_clients_high": 15},
    ),
    ("maxclients is not known", redis(a=connected(91, None)), {}),
    ("clocks 5 s apart", redis(a=clock(5.0), b=clock(-5.0)), {}),
    ("a clock that is behind", redis(a=clock(-5.1)), {"clock_offset_high": 5}),
    ("clocks that are ahead", redis(a=clock(300.0), b=clock(301.0)), {"clock_offset_high": 5}),
    ("queues could not be collected", part(bullmq=SILENT), {"queue_system_down": 25}),
    ("one queue could not be read", bullmq(queue(), unread=1), {"queue_system_down": 25}),
    ("no queues", bullmq(), {"no_queue_found": 15}),
    ("the first search goes on", bullmq(discovered=False), {}),
    ("the first search goes on beside a problem", looking("CLIENT LIST: NOPERM", refused=False), {}),
    ("the search is refused, some queues have names", looking("SCAN: NOPERM", queue(), refused=True), {}),
    ("the search is refused", looking("SCAN: NOPERM", refused=True), {"queue_system_down": 25}),
    ("candidates beside a queue are refused", searched(queue(), refused=2), {"candidates_refused": 5}),
    ("no candidate is refused", searched(queue(), refused=0), {}),
    ("50 failed in the hour", bullmq(queue(25), queue(25, "sms")), {}),
    ("51 failed in the hour", bullmq(queue(25), queue(26, "sms")), {"failed_jobs_high": 10}),
    ("many failed long ago", bullmq(queue(0, failed=100_000)), {}),
    ("removeOnFail trims, the stream tells", followed(queue(0), failed=51), {"failed_jobs_high": 10}),
    ("the exporter read fewer failures than the failed set has", followed(queue(50), failed=3), {}),
    ("followed, nothing lost", followed(queue(0)), {}),
    ("one event lost within the hour", followed(queue(0), lost=1), {"events_lost": 5}),
    ("a stream is refused", unfollowed(queue(0), "NOPERM no"), {"events_unreadable": 5}),
    ("10 % of the memory available", host(memory_available=GIB), {}),
    ("under 10 % of the memory available", host(memory_available=GIB - 1), {"host_memory_low": 20}),
    ("load of twice the cores", host(load=(8.0, 0.0, 0.0)), {}),
    ("load over twice the cores", host(load=(8.01, 0.0, 0.0)), {"host_load_high": 15}),
    ("the machine's load beside a container's tenth of a core", host(load=(3.0, 0, 0), cpu_count=0.1), {}),
    ("the host could not be read", part(host=SILENT), {"source_unreadable": 5}),
    ("process at 90 % of its limit", process(90, 100), {}),
    ("process over 90 % of its limit", process(91, 100), {"process_memory_high": 15}),
    ("process under the default limit", process(GIB * 9 // 10, None), {}),
    ("process over the default limit", process(GIB, None), {"process_memory_high": 15}),
    ("the process could not be read", part(process=SILENT), {"source_unreadable": 5}),
    (
        "Redis is gone and so are the queues",
        part(redis=SILENT, bullmq=SILENT),
        {"redis_unreachable": 30, "queue_system_down": 25},
    ),
]


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
