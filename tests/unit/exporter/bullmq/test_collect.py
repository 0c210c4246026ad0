from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.bullmq import reading
from exporter.bullmq.collect import BullMQSource
from exporter.bullmq.discover import Discovery
from exporter.config.bullmq import BullMQSettings
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply
from exporter.snapshot.queues import BullMQState, QueueId, Search
from service.clock import Deadline
from service.outcome import UnreadableError
from tests.support.key_servers import CACHE, HALVES, DeploymentOf, Keys, share_slots
from tests.support.redis_servers import World

MAIL, FOO = QueueId("bull", "{mail}"), QueueId("bull", "{foo}")
FIRST, SECOND = HALVES


def source(deployment: Deployment, **settings: object) -> tuple[BullMQSource, Discovery]:
    bullmq_settings = BullMQSettings.model_validate(settings)
    discovery = Discovery(deployment, bullmq_settings)
    return BullMQSource(deployment, discovery, bullmq_settings), discovery


def collect(bullmq: BullMQSource) -> BullMQState:
    return bullmq.collect(Deadline.after(5))


def silent(command: tuple[str, ...]) -> Reply:
    raise UnreadableError("timeout", "no answer in time")


def waiting(state: BullMQState) -> dict[str, int | None]:
    return {queue.id.name: queue.jobs.waiting for queue in state.queues}


def test_before_anything_is_found(cache: Keys, connect: DeploymentOf) -> None:
    bullmq, discovery = source(connect(url="redis://cache"))
    assert collect(bullmq) == BullMQState((), discovered=False)
    discovery.discover_once(Deadline.after(5))
    state = collect(bullmq)
    assert replace(state, search=Search()) == BullMQState((), discovered=True)
    assert state.search.ended_at is not None


def test_without_a_queue_a_dead_redis_is_no_empty_one(
    cache: Keys, connect: DeploymentOf, world: World
) -> None:
    bullmq, discovery = source(connect(url="redis://cache"))
    discovery.discover_once(Deadline.after(5))
    del world.servers[CACHE]
    with pytest.raises(UnreadableError, match="cache:6379: connection refused"):
        collect(bullmq)


def test_without_a_queue_half_a_cluster_is_enough(
    halves: dict[str, Keys], connect: DeploymentOf, world: World
) -> None:
    bullmq, discovery = source(connect(cluster=list(HALVES)))
    discovery.discover_once(Deadline.after(5))
    del world.servers[FIRST]
    assert collect(bullmq).up


def test_each_queue_is_read_from_its_owner(
    halves: dict[str, Keys], connect: DeploymentOf, world: World
) -> None:
    halves[FIRST].lengths["bull:{mail}:wait"] = 3
    halves[SECOND].lengths["bull:{foo}:wait"] = 4
    bullmq, _ = source(connect(cluster=list(HALVES)), queues=["{mail}", "{foo}"])
    state = collect(bullmq)
    assert (waiting(state), state.up) == ({"{mail}": 3, "{foo}": 4}, True)
    keys = {(address, command[1]) for address, command in world.commands if command[0] == "LLEN"}
    assert {address for address, key in keys if "{mail}" in key} == {FIRST}
    assert {address for address, key in keys if "{foo}" in key} == {SECOND}


def test_a_queue_that_moved_is_found_in_the_same_collection(
    halves: dict[str, Keys], connect: DeploymentOf
) -> None:
    bullmq, _ = source(connect(cluster=list(HALVES)), queues=["{mail}", "{foo}"])
    assert waiting(collect(bullmq)) == {"{mail}": 0, "{foo}": 0}
    halves[FIRST].moved.add("bull:{mail}:")
    halves[SECOND].lengths["bull:{mail}:wait"] = 9
    share_slots(halves, {FIRST: "0", SECOND: "1-16383"})
    state = collect(bullmq)
    assert (waiting(state), state.up) == ({"{mail}": 9, "{foo}": 0}, True)


def test_a_queue_without_an_owner_is_unread(halves: dict[str, Keys], connect: DeploymentOf) -> None:
    share_slots(halves, {FIRST: "0", SECOND: "8192-16383"})
    bullmq, _ = source(connect(cluster=list(HALVES)), queues=["{mail}", "{foo}"])
    state = collect(bullmq)
    assert waiting(state) == {"{foo}": 0}
    assert (state.unread[MAIL].kind, state.unread[MAIL].message) == ("unreachable", "no node owns its slot")
    assert not state.up


def test_a_silent_node_is_not_read_twice_when_nothing_has_moved(
    halves: dict[str, Keys], connect: DeploymentOf, world: World
) -> None:
    bullmq, _ = source(connect(cluster=list(HALVES)), queues=["{mail}", "{foo}"])
    collect(bullmq)
    world.servers[FIRST] = silent
    world.commands.clear()
    state = collect(bullmq)
    assert waiting(state) == {"{foo}": 0}
    assert (state.unread[MAIL].kind, state.unread[MAIL].message) == ("timeout", f"{FIRST}: no answer in time")
    commands = [command for _, command in world.commands if command == ("LLEN", "bull:{mail}:wait")]
    assert len(commands) == 1


def test_a_dead_nodes_queues_are_read_from_its_successor(
    halves: dict[str, Keys], connect: DeploymentOf, world: World
) -> None:
    bullmq, _ = source(connect(cluster=list(HALVES)), queues=["{mail}", "{foo}"])
    collect(bullmq)
    del world.servers[FIRST]
    share_slots(halves, {SECOND: "0-16383"})
    halves[SECOND].lengths["bull:{mail}:wait"] = 2
    assert waiting(collect(bullmq)) == {"{foo}": 0, "{mail}": 2}


def test_one_command_refused_costs_its_own_figures(cache: Keys, connect: DeploymentOf) -> None:
    cache.refused = {"ZCOUNT"}
    cache.lengths |= {"bull:mail:delayed": 1, "bull:mail:failed": 1}
    bullmq, _ = source(connect(url="redis://cache"), queues=["mail"])
    state = collect(bullmq)
    (mail,) = state.queues
    assert (mail.jobs.waiting, mail.delayed_overdue, mail.failed_last_hour) == (0, None, None)
    assert [sentence.partition(":")[0] for sentence in mail.odd] == ["failed", "delayed"]
    assert state.up


def test_lists_that_are_refused_leave_a_queue_unread(cache: Keys, connect: DeploymentOf) -> None:
    cache.refused = {"LLEN"}
    bullmq, _ = source(connect(url="redis://cache"), queues=["mail"])
    state = collect(bullmq)
    assert state.unread[QueueId("bull", "mail")].message.startswith("NOPERM")
    assert (state.queues, state.up) == ((), False)


def test_ages_take_a_second_request(halves: dict[str, Keys], connect: DeploymentOf, world: World) -> None:
    mail, foo = halves.values()
    details = ("timestamp", "processedOn", "opts", "atm", "attemptsMade")
    mail.replies = {
        ("LINDEX", "bull:{mail}:wait", "-1"): b"7",
        ("LINDEX", "bull:{mail}:active", "-1"): b"8",
        ("HMGET", "bull:{mail}:7", *details): [b"0", None, b"{}", None, None],
        ("HMGET", "bull:{mail}:8", "processedOn"): [b"1000"],
        ("LINDEX", "bull:{mail}2:active", "-1"): b"9",
        ("HMGET", "bull:{mail}2:9", "processedOn"): [b"2000"],
    }
    foo.replies = {("LINDEX", "bull:{foo}:wait", "-1"): b"1"}
    bullmq, _ = source(connect(cluster=list(HALVES)), queues=["{mail}", "{mail}2", "{foo}"])
    ages = {queue.id.name: (queue.oldest_waiting, queue.longest_active) for queue in collect(bullmq).queues}
    oldest, longest = ages["{mail}"]
    assert oldest is not None
    assert longest == pytest.approx(oldest - 1)
    waits, runs = ages["{mail}2"]
    assert waits is None
    assert runs == pytest.approx(oldest - 2)
    assert ages["{foo}"] == (None, None)
    rounds = [
        command[1] for address, command in world.commands if address == SECOND and command[0] == "HMGET"
    ]
    assert rounds == ["bull:{foo}:meta", "bull:{foo}:1"]


def test_workers_are_unknown_until_they_were_counted(cache: Keys, connect: DeploymentOf) -> None:
    bullmq, discovery = source(connect(url="redis://cache"), queues=["mail", "orders"])
    assert [queue.workers for queue in collect(bullmq).queues] == [None, None]
    cache.clients = ["bull:bWFpbA=="]
    cache.exist = {"bull:mail:stalled-check"}
    discovery.discover_once(Deadline.after(5))
    state = collect(bullmq)
    assert {queue.id.name: queue.workers for queue in state.queues} == {"mail": 1, "orders": 0}
    assert state.problems == ("in the settings, but not in Redis: orders",)


def test_the_first_matching_settings_give_a_queues_worker_settings(
    cache: Keys, connect: DeploymentOf
) -> None:
    bullmq, _ = source(
        connect(url="redis://cache"),
        queues=["mail", "mail-bulk", "orders"],
        capacity_per_worker=7,
        settings=[
            {"match": "mail", "worker_concurrency": 4},
            {"match": "mail*", "capacity_per_worker": 50},
            {"match": "mail-bulk", "worker_concurrency": 9},
        ],
    )
    worker_settings = {
        queue.id.name: (queue.capacity_per_worker, queue.worker_concurrency)
        for queue in collect(bullmq).queues
    }
    assert worker_settings == {"mail": (7, 4), "mail-bulk": (50, None), "orders": (7, None)}


def test_queues_come_and_go(cache: Keys, connect: DeploymentOf) -> None:
    bullmq, discovery = source(connect(url="redis://cache"))
    for expected in (["a", "b"], ["b", "c"], [], ["c"]):
        cache.exist.clear()
        cache.hold(*expected)
        discovery.discover_once(Deadline.after(5))
        assert sorted(waiting(collect(bullmq))) == expected


def asked(world: World, address: str, *command: str) -> int:
    return world.commands.count((address, command))


def test_each_node_has_its_own_clock(halves: dict[str, Keys], connect: DeploymentOf, world: World) -> None:
    for address, seconds in ((FIRST, 1_000_000), (SECOND, 5_000_000)):
        halves[address].replies["TIME",] = [b"%d" % seconds, b"0"]
        halves[address].lengths |= {"bull:{mail}:failed": 1, "bull:{foo}:failed": 1}
    bullmq, _ = source(connect(cluster=list(HALVES)), queues=["{mail}", "{foo}"])
    collect(bullmq)
    since = {
        address: int(command[2]) / 1000 + 3600
        for address, command in world.commands
        if command[0] == "ZCOUNT" and command[1].endswith(":failed")
    }
    assert since == {FIRST: pytest.approx(1_000_000, abs=10), SECOND: pytest.approx(5_000_000, abs=10)}
    collect(bullmq)
    assert [asked(world, address, "TIME") for address in HALVES] == [1, 1]


def test_a_node_that_is_silent_is_not_asked_for_its_clock_each_time(
    halves: dict[str, Keys], connect: DeploymentOf, world: World
) -> None:
    deployment = connect(cluster=list(HALVES))
    deployment.topology(Deadline.after(5))
    world.servers[SECOND] = silent
    bullmq, _ = source(deployment, queues=["{mail}", "{foo}"])
    for _ in range(3):
        assert len(collect(bullmq).unread) == 1
    assert asked(world, SECOND, "INFO", "server") == 1
    assert asked(world, SECOND, "TIME") == 0


def test_a_node_that_hangs_costs_its_time_out_once_however_many_queues_it_has(
    halves: dict[str, Keys], connect: DeploymentOf, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_AT_ONCE", 4)
    names = [f"{{q{number}}}" for number in range(40)]
    bullmq, _ = source(connect(cluster=list(HALVES)), queues=names)
    assert not collect(bullmq).unread
    asked = 0

    def hangs(command: tuple[str, ...]) -> Reply:
        nonlocal asked
        asked += 1
        return silent(command)

    world.servers[FIRST] = hangs
    reader, slot_map = bullmq._reader, bullmq._slot_map
    assert slot_map is not None
    owned, _ = slot_map.by_owner(list(reader.plans))
    read, unread = reader.read(list(reader.plans), slot_map, Deadline.after(5))
    assert (sorted(read), sorted(unread)) == (sorted(owned[SECOND]), sorted(owned[FIRST]))
    assert {failed.kind for failed in unread.values()} == {"timeout"}
    assert asked == 1


def test_what_has_come_of_one_server_is_kept_when_it_hangs(
    connect: DeploymentOf, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_AT_ONCE", 4)
    names = [f"q{number:02}" for number in range(10)]
    keys = world.servers[CACHE] = Keys()
    bullmq, _ = source(connect(url=f"redis://{CACHE}"), queues=names)
    assert [queue.id.name for queue in collect(bullmq).queues] == names
    reader, slot_map = bullmq._reader, bullmq._slot_map
    assert slot_map is not None
    asked: list[str] = []

    def hangs(command: tuple[str, ...]) -> Reply:
        if "q05" in " ".join(command):
            asked.append(command[0])
            return silent(command)
        return keys(command)

    world.servers[CACHE] = hangs
    read, unread = reader.read(list(reader.plans), slot_map, Deadline.after(5))
    assert [queue.name for queue in read] == names[:4]
    assert [queue.name for queue in unread] == names[4:]
    assert len(asked) == 1, "the queues behind are not asked for: each would cost a time-out"
