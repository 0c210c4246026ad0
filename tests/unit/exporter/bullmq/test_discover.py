from __future__ import annotations

from base64 import b64encode
from itertools import pairwise

import pytest

from exporter.bullmq.discover import Discovery
from exporter.bullmq.search import lap
from exporter.config.bullmq import BullMQSettings
from exporter.config.shard import QueueShard
from exporter.snapshot.queues import QueueId
from service.clock import Deadline
from service.outcome import UnreadableError
from tests.support.key_servers import CACHE, HALVES, Clock, DeploymentOf, Keys, share_slots
from tests.support.redis_servers import World

NODE = "bull:bWFpbA=="


def discovery(connect: DeploymentOf, *, cluster: bool = False, **settings: object) -> Discovery:
    address: dict[str, object] = {"cluster": list(HALVES)} if cluster else {"url": "redis://cache"}
    return Discovery(connect(**address, timeout_seconds=5), BullMQSettings.model_validate(settings))


def look(queues: Discovery) -> list[str]:
    """Names after a complete discovery."""
    queues.discover_once(Deadline.after(5))
    return names(queues)


def names(queues: Discovery) -> list[str]:
    return [queue.name for queue in queues.known().queues]


def test_a_search_finds_queues_and_no_phantoms(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("mail", "orders")
    cache.exist.add("bull:phantom:meta")
    queues = discovery(connect)
    assert (names(queues), queues.known().complete) == ([], False)
    assert look(queues) == ["mail", "orders"]
    assert (queues.known().complete, queues.known().problems) == (True, ())


def test_a_named_queue_stays_while_redis_loads(cache: Keys, connect: DeploymentOf) -> None:
    """Else it is down at the first look, in order while the search goes on, and down again."""
    cache.hold("mail")
    cache.pages = [[], []]
    cache.unready = {"EXISTS", "TYPE"}
    queues = discovery(connect, queues=["mail"])
    queues.step()
    assert (names(queues), queues.known().refused) == (["mail"], False)
    cache.unready = set()
    assert look(queues) == ["mail"]


def test_a_queue_that_vanishes_is_removed_in_the_next_round(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("mail", "orders")
    queues = discovery(connect)
    look(queues)
    cache.exist = {key for key in cache.exist if "orders" not in key}
    assert look(queues) == ["mail"]
    cache.exist.clear()
    assert look(queues) == []


def test_a_search_goes_on_where_it_was(
    cache: Keys, connect: DeploymentOf, clock: Clock, world: World
) -> None:
    cache.hold("a", "b", "c")
    cache.pages = [["bull:a:meta"], [], ["bull:b:meta", "bull:b:id"], ["bull:c:meta"]]
    queues = discovery(connect, scan_calls_per_second=20, rescan_interval_seconds=60)
    pauses = []
    while not queues.known().complete:
        pauses.append(queues.step())
        clock.now += pauses[-1]
    assert pauses[:-1] == [pytest.approx(1 / 200)] * 3
    assert names(queues) == ["a", "b", "c"]
    assert [command[1] for _, command in world.commands if command[0] == "SCAN"] == ["0", "1", "2", "3"]


def test_the_first_search_is_ten_times_as_fast_at_each_master(
    halves: dict[str, Keys], connect: DeploymentOf, clock: Clock
) -> None:
    for server in halves.values():
        server.pages = [[], [], [], []]
    queues = discovery(connect, cluster=True, scan_calls_per_second=20, rescan_interval_seconds=60)
    pauses = []
    while not queues.known().complete:
        pauses.append(queues.step())
        clock.now += pauses[-1]
    assert pauses[:3] == [pytest.approx(1 / 200)] * 3
    clock.now += 60
    queues.step()  # the round is due too
    clock.now += 1
    assert queues.step() == pytest.approx(2 / 20)  # one at each of two masters


def test_the_first_search_stays_fast_until_one_has_read_something(
    cache: Keys, connect: DeploymentOf, clock: Clock
) -> None:
    cache.pages = [[], [], []]
    cache.refused = {"SCAN"}
    queues = discovery(connect, scan_calls_per_second=20)
    queues.step()
    assert queues.known().refused
    cache.refused = set()
    clock.now += 20
    assert queues.step() == pytest.approx(1 / 200)


def test_queues_appear_while_the_first_search_goes_on(
    cache: Keys, connect: DeploymentOf, clock: Clock
) -> None:
    cache.hold("a", "b")
    cache.pages = [["bull:a:meta"], [], ["bull:b:meta"], []]
    queues = discovery(connect)
    seen = []
    while not queues.known().complete:
        clock.now += queues.step() + 0.3
        seen.append((names(queues), queues.known().complete))
    assert seen == [(["a"], False), (["a"], False), (["a", "b"], False), (["a", "b"], True)]


def test_few_candidates_are_collected_before_they_are_verified(
    cache: Keys, connect: DeploymentOf, clock: Clock, world: World
) -> None:
    cache.hold(*(f"q{number}" for number in range(50)))
    cache.pages = [[f"bull:q{number}:meta"] for number in range(50)]
    queues = discovery(connect)
    steps = 0
    while not queues.known().complete:
        clock.now += queues.step()
        steps += 1
    verbs = [command[0] for _, command in world.commands]
    verified = sum(pair == ("SCAN", "HMGET") for pair in pairwise(verbs))
    assert (steps, len(names(queues)), verbs.count("SCAN")) == (50, 50, 50)
    assert 2 <= verified <= 3


def test_the_next_search_and_round_come_when_they_are_due(
    cache: Keys, connect: DeploymentOf, clock: Clock, world: World
) -> None:
    queues = discovery(connect, discovery_interval_seconds=7, rescan_interval_seconds=30)
    while clock.now < 1100:
        clock.now += queues.step()
    commands = [command[0] for _, command in world.commands]
    assert commands.count("SCAN") == 4  # at 0, 30, 60 and 90 s
    assert commands.count("CLIENT") - commands.count("SETNAME") == 15


@pytest.mark.parametrize("prefixes", [[], ["bull"]])
def test_named_queues_are_known_at_once(prefixes: list[str], connect: DeploymentOf) -> None:
    known = discovery(connect, queues=["mail", "orders"], prefixes=prefixes).known()
    assert known.queues == (QueueId("bull", "mail"), QueueId("bull", "orders"))
    assert (known.complete, known.workers) == (bool(prefixes), None)  # it may be under another prefix


def test_a_named_queue_is_found_under_any_prefix(cache: Keys, connect: DeploymentOf, clock: Clock) -> None:
    cache.hold("mail", prefix="{app}")
    cache.pages = [[], ["{app}:mail:meta"]]
    queues = discovery(connect, queues=["mail"])
    queues.step()
    assert names(queues) == []  # not under the default prefix, and the search has not ended
    queues.step()
    assert (queues.known().queues, queues.known().problems) == ((QueueId("{app}", "mail"),), ())


def test_a_name_that_redis_does_not_have_is_reported(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("mail")
    queues = discovery(connect, queues=["mail", "mial"])
    assert look(queues) == ["mail", "mial"]
    assert queues.known().problems == ("in the settings, but not in Redis: mial",)
    cache.hold("mial")
    look(queues)
    assert queues.known().problems == ()


def test_with_several_prefixes_a_name_is_searched_under_each(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("mail", prefix="shop:eu")
    cache.hold("other")
    queues = discovery(connect, queues=["mail"], prefixes=["bull", "shop:eu"])
    assert (names(queues), queues.known().complete) == ([], False)
    look(queues)
    assert queues.known().queues == (QueueId("shop:eu", "mail"),)


def test_patterns_choose_among_what_is_found(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("mail-a", "mail-b", "orders")
    cache.clients = [NODE]
    assert look(discovery(connect, queues=["mail-*"])) == ["mail-a", "mail-b"]


def test_workers_make_a_queue_known_and_are_counted(cache: Keys, connect: DeploymentOf) -> None:
    cache.clients = [NODE, f"{NODE}:w:anna", "bull:pyq", "bull:pyq", f"{NODE}:qe", ""]
    cache.exist = {"bull:mail:stalled-check", "bull:pyq:stalled-check"}  # all that idle workers write
    queues = discovery(connect, scan=False)
    assert look(queues) == ["mail", "pyq"]
    assert queues.known().workers == {QueueId("bull", "mail"): 2, QueueId("bull", "pyq"): 1}
    cache.clients = []
    assert look(queues) == []


def test_the_name_of_a_connection_alone_makes_no_queue(cache: Keys, connect: DeploymentOf) -> None:
    cache.clients = [NODE, "bull:pyq", "bull:pyq"]
    assert look(discovery(connect)) == []
    assert look(discovery(connect, prefixes=["bull"])) == []
    assert look(discovery(connect, scan=False)) == []


def test_a_queue_of_nothing_but_workers_stays_between_two_of_their_keys(
    cache: Keys, connect: DeploymentOf, clock: Clock
) -> None:
    """A single worker may leave an interval of `stalled-check` out."""
    cache.clients = [NODE]
    cache.exist = {"bull:mail:stalled-check"}
    queues = discovery(connect)
    assert look(queues) == ["mail"]
    for _ in range(3):
        cache.exist.clear()
        for _ in range(3):
            clock.now += 20
            assert look(queues) == ["mail"]
        cache.exist = {"bull:mail:stalled-check"}
        clock.now += 20
        assert look(queues) == ["mail"]
    cache.exist.clear()
    for _ in range(6):
        clock.now += 20
        look(queues)
    assert names(queues) == [], "a name keeps no queue either"


def test_more_queues_than_are_watched_are_counted_and_make_way(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("a", "b", "c", "d")
    queues = discovery(connect, max_queues=3)
    watched = look(queues)
    assert len(watched) == 3
    left = queues.known().search.not_watched
    assert (left.number, left.more, {queue.name for queue in left.first}) == (
        1,
        False,
        {*"abcd"} - {*watched},
    )
    assert look(queues) == watched, "those that were found first"
    gone = watched[0]
    cache.exist = {key for key in cache.exist if f":{gone}:" not in key}
    look(queues)
    assert look(queues) == sorted({*"abcd"} - {gone})
    assert queues.known().search.not_watched.number == 0


def test_a_queue_of_the_settings_has_its_place_whenever_it_comes(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold(*(f"customer-{number}" for number in range(5)))
    queues = discovery(connect, queues=["mail", "customer-*"], max_queues=3)
    assert len([name for name in look(queues) if name != "mail"]) == 2
    cache.hold("mail")
    assert "mail" in look(queues)
    assert queues.known().search.missing == ()
    assert queues.known().search.not_watched.number == 3


def test_a_queue_with_a_long_name_is_left_out(cache: Keys, connect: DeploymentOf) -> None:
    fits, long = "a" * 507, "b" * 508  # bull:...
    cache.hold("mail", fits, long, "é" * 254)
    queues = discovery(connect)
    assert look(queues) == [fits, "mail"]
    left = queues.known().search.left_out["name_length"]
    assert (left.number, max(len(queue.name) for queue in left.first)) == (2, 100)


def test_a_queue_that_stays_out_is_not_read_again(cache: Keys, connect: DeploymentOf, world: World) -> None:
    cache.hold("a", "b", "c", "d")
    queues = discovery(connect, max_queues=2)
    look(queues)
    del world.commands[:]
    look(queues)
    verified = [command for _, command in world.commands if command[0] == "HMGET" and len(command) == 4]
    assert verified == []
    assert queues.known().search.not_watched.number == 2


def test_client_list_refused_is_unknown_not_none(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("mail")
    cache.refused = {"CLIENT"}
    queues = discovery(connect)
    assert look(queues) == ["mail"]
    assert queues.known().workers is None
    assert "NOPERM" in queues.known().workers_unknown[QueueId("bull", "mail")]
    assert [problem.split(" ")[:3] for problem in queues.known().problems] == [["CLIENT", "LIST:", "NOPERM"]]
    cache.refused = set()
    look(queues)
    assert (queues.known().workers, queues.known().problems) == ({QueueId("bull", "mail"): 0}, ())


def test_locks_of_many_queues_are_read_in_turns(
    cache: Keys, connect: DeploymentOf, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cost more than all else in a round. Where connections come or go they are read at once."""
    monkeypatch.setattr(lap, "MANY", 10)
    every = [f"queue-{number:02d}" for number in range(30)]
    cache.hold(*every)
    queues = discovery(connect)

    def looked_at() -> list[str]:
        sent = len(world.commands)
        look(queues)
        keys = [command[1] for _, command in world.commands[sent:] if command[0] == "PTTL"]
        return sorted(key.split(":")[1] for key in keys if key.endswith(":stalled-check"))

    assert looked_at() == every
    turns = [looked_at() for _ in range(3)]
    assert sorted(turns[0] + turns[1] + turns[2]) == every
    assert max(map(len, turns)) < len(every)
    left = next(name for name in every if name not in turns[0])
    cache.clients = [f"bull:{b64encode(left.encode()).decode()}"]
    looked_at()
    assert queues.known().workers == dict.fromkeys([QueueId("bull", name) for name in every], 0) | {
        QueueId("bull", left): 1
    }
    cache.clients = []
    assert left in looked_at()


def test_a_count_of_workers_grows_stale(
    cache: Keys, connect: DeploymentOf, clock: Clock, world: World
) -> None:
    cache.hold("mail")
    cache.clients = [NODE]
    queues = discovery(connect, discovery_interval_seconds=10)
    look(queues)
    clock.now += 35
    assert queues.known().workers == {QueueId("bull", "mail"): 1}
    del world.servers[CACHE]
    assert queues.step() > 0
    clock.now += 10
    assert queues.known().workers is None
    assert names(queues) == ["mail"]
    assert queues.known().problems


def test_a_refused_search_never_ends_in_no_queues(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("mail")
    cache.refused = {"SCAN"}
    queues = discovery(connect)
    assert look(queues) == []
    assert (queues.known().complete, queues.known().refused) == (False, True)
    assert [problem.split(":")[0] for problem in queues.known().problems] == ["SCAN at cache"]
    cache.refused = set()
    assert look(queues) == ["mail"]
    assert (queues.known().complete, queues.known().problems) == (True, ())
    assert not queues.known().refused
    cache.refused = {"SCAN"}
    assert look(queues) == ["mail"]
    assert not queues.known().refused


def test_a_search_that_could_read_nothing_does_not_wait_for_the_next(
    cache: Keys, connect: DeploymentOf, clock: Clock
) -> None:
    """As at the start of a Redis that is still loading what it holds."""
    cache.hold("mail")
    cache.refused = {"SCAN"}
    queues = discovery(connect, discovery_interval_seconds=7, rescan_interval_seconds=600)
    clock.now += queues.step()
    assert (names(queues), queues.known().complete) == ([], False)
    cache.refused = set()
    queues.step()
    assert (names(queues), queues.known().complete, clock.now) == (["mail"], True, 1007)


@pytest.mark.parametrize("command", ["EXISTS", "TYPE"])
def test_one_of_the_two_proofs_is_enough(command: str, cache: Keys, connect: DeploymentOf) -> None:
    """An access list that was made for an earlier version has no TYPE."""
    cache.hold("mail")
    cache.refused = {command}
    queues = discovery(connect)
    assert look(queues) == ["mail"]
    cache.refused = set()
    assert look(queues) == ["mail"]


def test_a_candidate_that_is_refused_is_an_unread_queue(cache: Keys, connect: DeploymentOf) -> None:
    mail = QueueId("bull", "mail")
    cache.hold("mail")
    cache.refused = {"EXISTS", "TYPE"}
    queues = discovery(connect)
    assert look(queues) == []
    assert "NOPERM" in queues.known().unread[mail].message
    cache.pages = [["bull:mail:id"], ["bull:mail:meta"]]
    queues.step()
    assert list(queues.known().unread) == [mail]  # while the next search runs, too
    cache.refused = set()
    assert look(queues) == ["mail"]
    assert queues.known().unread == {}
    cache.refused = {"EXISTS", "TYPE"}
    assert look(queues) == ["mail"]
    assert queues.known().unread == {}  # it is read like before


def test_a_refused_candidate_that_is_gone_is_named_until_a_search_has_ended(
    cache: Keys, connect: DeploymentOf
) -> None:
    cache.hold("mail")
    cache.refused = {"EXISTS", "TYPE"}
    queues = discovery(connect)
    look(queues)
    cache.exist.clear()
    assert list(queues.known().unread) == [QueueId("bull", "mail")]
    look(queues)
    assert queues.known().unread == {}


def test_unreachable_is_tried_again(connect: DeploymentOf, world: World) -> None:
    queues = discovery(connect)
    assert queues.step() == 2.0
    assert (queues.known().complete, queues.known().refused) == (False, False)
    with pytest.raises(UnreadableError):
        queues.discover_once(Deadline.after(5))
    server = world.servers[CACHE] = Keys()
    server.hold("mail")
    queues.step()
    assert names(queues) == ["mail"]


# --- cluster: {mail} belongs to the first half, {foo} to the second ---


def test_every_master_is_searched(halves: dict[str, Keys], connect: DeploymentOf) -> None:
    first, second = halves.values()
    first.hold("{mail}")
    second.hold("{foo}")
    assert look(discovery(connect, cluster=True)) == ["{foo}", "{mail}"]


def test_untagged_names_are_phantoms(halves: dict[str, Keys], connect: DeploymentOf) -> None:
    for server in halves.values():
        server.hold("plain")
    assert look(discovery(connect, cluster=True)) == []
    named = discovery(connect, cluster=True, queues=["plain"])
    assert look(named) == []
    assert named.known().problems == ("in a cluster a queue's name or prefix needs a {hash tag}: plain",)


def test_a_workers_name_is_no_second_queue_without_a_tag(
    halves: dict[str, Keys], connect: DeploymentOf
) -> None:
    """`e21haWx9` is what Node writes for {mail}, and what Python would write for a queue of that name."""
    first, second = halves.values()
    first.hold("{mail}")
    first.clients = ["bull:e21haWx9:w:anna", "bull:e21haWx9"]
    queues = discovery(connect, cluster=True)
    assert look(queues) == ["{mail}"]
    assert queues.known().search.passed_over == {}
    for server in halves.values():
        server.hold("plain")
    for _ in range(2):  # the second round has its name from a connection alone
        second.clients = ["bull:plain"]
        look(queues)
        assert list(queues.known().search.passed_over) == [QueueId("bull", "plain")]


def test_a_dead_master_does_not_hold_up_the_others(
    halves: dict[str, Keys], connect: DeploymentOf, world: World
) -> None:
    first, second = halves.values()
    first.hold("{mail}")
    second.hold("{foo}")
    queues = discovery(connect, cluster=True)
    look(queues)
    address = list(HALVES)[1]
    del world.servers[address]
    first.exist.clear()
    assert look(queues) == ["{foo}"]  # nobody says that it is gone
    assert any(address in problem for problem in queues.known().problems)
    world.servers[address] = second
    second.exist.clear()
    assert look(queues) == []
    assert queues.known().problems == ()


def test_a_master_that_joins_during_a_search_is_searched(
    halves: dict[str, Keys], connect: DeploymentOf, world: World, clock: Clock
) -> None:
    first, second = halves.values()
    first.pages = [["bull:{mail}:meta"], [], []]
    first.hold("{mail}")
    second.hold("{foo}")
    deployment = connect(cluster=list(HALVES), timeout_seconds=5)
    queues = Discovery(deployment, BullMQSettings())
    clock.now += queues.step()
    third = Keys()
    third.hold("{foo}", "{bar}")
    addresses = [*HALVES, "10.0.0.3:7003"]
    everyone = dict(zip(addresses, (first, second, third), strict=True))
    world.servers[addresses[2]] = third
    share_slots(everyone, dict(zip(addresses, ("0-5000", "8192-16383", "5001-8191"), strict=True)))
    deployment.refresh(Deadline.after(5))
    for _ in range(2):
        clock.now += queues.step()
    assert queues.known().complete
    cursors = {
        address: [command[1] for node, command in world.commands if node == address and command[0] == "SCAN"]
        for address in addresses
    }
    assert cursors == dict(zip(addresses, (["0", "1", "2"], ["0"], ["0"]), strict=True))


def test_a_shard_that_does_not_read_redis_learns_of_new_nodes(
    halves: dict[str, Keys], connect: DeploymentOf
) -> None:
    """Each collection of Redis refreshes the topology, which only the first shard does."""
    only = dict.fromkeys([next(iter(HALVES))], "0-16383")
    share_slots(halves, only)
    settings = BullMQSettings.model_validate({})
    deployment = connect(cluster=[next(iter(HALVES))])
    queues = Discovery(deployment, settings, QueueShard(2, 2))
    queues.discover_once(Deadline.after(5))
    share_slots(halves, HALVES)
    queues.discover_once(Deadline.after(5))
    assert {node.address for node in deployment.topology(Deadline.after(5)).nodes} == set(HALVES)
