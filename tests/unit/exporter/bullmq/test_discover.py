from __future__ import annotations

import pytest

from exporter.bullmq.discover import Discovery
from exporter.settings import BullMQSettings
from exporter.snapshot import QueueId
from service.clock import Deadline
from service.outcome import UnreadableError
from tests.support.redis_servers import World
from tests.unit.exporter.bullmq.conftest import CACHE, HALVES, Clock, DeploymentOf, Keys, share_slots

NODE = "bull:bWFpbA=="


def discovery(connect: DeploymentOf, *, cluster: bool = False, **settings: object) -> Discovery:
    where: dict[str, object] = {"cluster": list(HALVES)} if cluster else {"url": "redis://cache"}
    return Discovery(connect(**where, timeout_seconds=5), BullMQSettings.model_validate(settings))


def look(found: Discovery) -> list[str]:
    """Names after one look at everything."""
    found.look_once(Deadline.after(5))
    return names(found)


def names(found: Discovery) -> list[str]:
    return [queue.name for queue in found.known().queues]


def test_a_search_finds_queues_and_no_phantoms(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("mail", "orders")
    cache.exist.add("bull:phantom:meta")
    found = discovery(connect)
    assert (names(found), found.known().complete) == ([], False)
    assert look(found) == ["mail", "orders"]
    assert (found.known().complete, found.known().problems) == (True, ())


def test_a_queue_that_vanishes_is_gone_after_the_next_look(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("mail", "orders")
    found = discovery(connect)
    look(found)
    cache.exist = {key for key in cache.exist if "orders" not in key}
    assert look(found) == ["mail"]
    cache.exist.clear()
    assert look(found) == []


def test_a_search_goes_on_where_it_was(
    cache: Keys, connect: DeploymentOf, clock: Clock, world: World
) -> None:
    cache.hold("a", "b", "c")
    cache.pages = [["bull:a:meta"], [], ["bull:b:meta", "bull:b:id"], ["bull:c:meta"]]
    found = discovery(connect, scan_calls_per_second=20, rescan_interval_seconds=60)
    pauses = []
    while not found.known().complete:
        pauses.append(found.step())
        clock.now += pauses[-1]
    assert pauses[:-1] == [pytest.approx(1 / 20)] * 3
    assert names(found) == ["a", "b", "c"]
    assert [command[1] for _, command in world.commands if command[0] == "SCAN"] == ["0", "1", "2", "3"]


def test_the_next_search_and_look_come_when_they_are_due(
    cache: Keys, connect: DeploymentOf, clock: Clock, world: World
) -> None:
    found = discovery(connect, discovery_interval_seconds=7, rescan_interval_seconds=30)
    while clock.now < 1100:
        clock.now += found.step()
    asked = [command[0] for _, command in world.commands]
    assert asked.count("SCAN") == 4  # at 0, 30, 60 and 90 s
    assert asked.count("CLIENT") - asked.count("SETNAME") == 15


def test_named_queues_are_known_at_once(connect: DeploymentOf) -> None:
    found = discovery(connect, queues=["mail", "orders"])
    known = found.known()
    assert known.queues == (QueueId("bull", "mail"), QueueId("bull", "orders"))
    assert (known.complete, known.workers) == (True, None)


def test_a_name_that_redis_does_not_have_is_said(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("mail")
    found = discovery(connect, queues=["mail", "mial"])
    assert look(found) == ["mail", "mial"]
    assert found.known().problems == ("named, but not in Redis: mial",)
    cache.hold("mial")
    look(found)
    assert found.known().problems == ()


def test_with_several_prefixes_a_name_is_looked_for_under_each(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("mail", prefix="shop:eu")
    cache.hold("other")
    found = discovery(connect, queues=["mail"], prefixes=["bull", "shop:eu"])
    assert (names(found), found.known().complete) == ([], False)
    look(found)
    assert found.known().queues == (QueueId("shop:eu", "mail"),)


def test_patterns_choose_among_what_is_found(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("mail-a", "mail-b", "orders")
    cache.clients = [NODE]
    assert look(discovery(connect, queues=["mail-*"])) == ["mail-a", "mail-b"]


def test_workers_make_a_queue_known_and_are_counted(cache: Keys, connect: DeploymentOf) -> None:
    cache.clients = [NODE, f"{NODE}:w:anna", "bull:pyq", "bull:pyq", f"{NODE}:qe", ""]
    found = discovery(connect, scan=False)
    assert look(found) == ["mail", "pyq"]
    assert found.known().workers == {QueueId("bull", "mail"): 2, QueueId("bull", "pyq"): 1}
    cache.clients = []
    assert look(found) == []


def test_client_list_refused_is_unknown_not_none(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("mail")
    cache.refused = {"CLIENT"}
    found = discovery(connect)
    assert look(found) == ["mail"]
    assert found.known().workers is None
    assert [problem.split(" ")[:3] for problem in found.known().problems] == [["CLIENT", "LIST:", "NOPERM"]]
    cache.refused = set()
    look(found)
    assert (found.known().workers, found.known().problems) == ({}, ())


def test_a_count_of_workers_grows_stale(
    cache: Keys, connect: DeploymentOf, clock: Clock, world: World
) -> None:
    cache.hold("mail")
    cache.clients = [NODE]
    found = discovery(connect, discovery_interval_seconds=10)
    look(found)
    clock.now += 35
    assert found.known().workers == {QueueId("bull", "mail"): 1}
    del world.servers[CACHE]
    assert found.step() > 0
    clock.now += 10
    assert found.known().workers is None
    assert names(found) == ["mail"]
    assert found.known().problems


def test_a_refused_search_never_ends_in_no_queues(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("mail")
    cache.refused = {"SCAN"}
    found = discovery(connect)
    assert look(found) == []
    assert (found.known().complete, found.known().refused) == (False, True)
    assert [problem.split(":")[0] for problem in found.known().problems] == ["SCAN at cache"]
    cache.refused = set()
    assert look(found) == ["mail"]
    assert (found.known().complete, found.known().problems) == (True, ())
    assert not found.known().refused
    cache.refused = {"SCAN"}
    assert look(found) == ["mail"]
    assert not found.known().refused


def test_a_search_that_could_read_nothing_does_not_wait_for_the_next(
    cache: Keys, connect: DeploymentOf, clock: Clock
) -> None:
    """As at the start of a Redis that is still loading what it holds."""
    cache.hold("mail")
    cache.refused = {"SCAN"}
    found = discovery(connect, discovery_interval_seconds=7, rescan_interval_seconds=600)
    clock.now += found.step()
    assert (names(found), found.known().complete) == ([], False)
    cache.refused = set()
    found.step()
    assert (names(found), found.known().complete, clock.now) == (["mail"], True, 1007)


def test_what_cannot_be_confirmed_is_not_taken_for_a_queue(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold("mail")
    cache.refused = {"EXISTS"}
    found = discovery(connect)
    assert look(found) == []
    assert [problem.split(" ")[0] for problem in found.known().problems] == ["EXISTS:"]
    cache.refused = set()
    assert look(found) == ["mail"]
    cache.refused = {"EXISTS"}
    assert look(found) == ["mail"]


def test_unreachable_is_tried_again(connect: DeploymentOf, world: World) -> None:
    found = discovery(connect)
    assert found.step() == 2.0
    assert (found.known().complete, found.known().refused) == (False, False)
    with pytest.raises(UnreadableError):
        found.look_once(Deadline.after(5))
    server = world.servers[CACHE] = Keys()
    server.hold("mail")
    found.step()
    assert names(found) == ["mail"]


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
    assert named.known().problems == ("in a cluster a queue's name or prefix needs a {tag}: plain",)


def test_a_dead_master_does_not_hold_up_the_others(
    halves: dict[str, Keys], connect: DeploymentOf, world: World
) -> None:
    first, second = halves.values()
    first.hold("{mail}")
    second.hold("{foo}")
    found = discovery(connect, cluster=True)
    look(found)
    address = list(HALVES)[1]
    del world.servers[address]
    first.exist.clear()
    assert look(found) == ["{foo}"]  # nobody says that it is gone
    assert any(address in problem for problem in found.known().problems)
    world.servers[address] = second
    second.exist.clear()
    assert look(found) == []
    assert found.known().problems == ()


def test_a_master_that_joins_during_a_search_is_searched(
    halves: dict[str, Keys], connect: DeploymentOf, world: World, clock: Clock
) -> None:
    first, second = halves.values()
    first.pages = [["bull:{mail}:meta"], [], []]
    first.hold("{mail}")
    second.hold("{foo}")
    deployment = connect(cluster=list(HALVES), timeout_seconds=5)
    found = Discovery(deployment, BullMQSettings())
    clock.now += found.step()
    third = Keys()
    third.hold("{foo}", "{bar}")
    addresses = [*HALVES, "10.0.0.3:7003"]
    everyone = dict(zip(addresses, (first, second, third), strict=True))
    world.servers[addresses[2]] = third
    share_slots(everyone, dict(zip(addresses, ("0-5000", "8192-16383", "5001-8191"), strict=True)))
    deployment.refresh(Deadline.after(5))
    for _ in range(2):
        clock.now += found.step()
    assert found.known().complete
    asked = {
        address: [command[1] for where, command in world.commands if where == address and command[0] == "SCAN"]
        for address in addresses
    }
    assert asked == dict(zip(addresses, (["0", "1", "2"], ["0"], ["0"]), strict=True))
