from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from exporter.bullmq.clients import (
    BYTES_PER_CLIENT,
    ClientNames,
    bytes_per_client,
    client_names,
    count_workers,
    sample_ids,
)
from exporter.bullmq.keys import worker_queues
from exporter.snapshot.queues import QueueId

MAIL = QueueId("bull", "mail")
NODE = "bull:bWFpbA=="
MEANINGS = partial(worker_queues, prefixes=["bull"])


def line(name: str, number: int = 1) -> str:
    return f"id={number} addr=10.0.0.1:50000 fd=8 name={name} age=1 idle=0 flags=N cmd=info"


def connected(names: dict[str, int]) -> ClientNames:
    return ClientNames(Counter(names))


def test_bulls_other_connections_with_the_same_name_are_no_workers() -> None:
    """As seen with Bull 3.29: its connections for scripts and for events may have the worker's name."""
    commands = ("eval", "subscribe", "brpoplpush", "brpoplpush")
    raw = "\n".join(f"id=1 name={NODE} age=1 db=0 cmd={command} user=u" for command in commands)
    assert count_workers([client_names(raw.encode())], MEANINGS, {MAIL}) == {MAIL: 2}


@pytest.mark.parametrize(
    "command", ["info", "cluster|slots", "cluster", "client|setname", "readonly", "ping"]
)
def test_a_busy_workers_connection_that_never_waited_counts(command: str) -> None:
    """In a cluster the clients ask for the slots again and again, on any connection."""
    raw = f"id=1 name={NODE} age=1 db=0 cmd={command} user=u\nid=2 name={NODE} age=1 db=0 cmd=info user=u"
    assert count_workers([client_names(raw.encode())], MEANINGS, {MAIL}) == {MAIL: 2}


def test_names_are_read_from_client_list() -> None:
    listed = [line(NODE), line(NODE, 2), line(""), line("oxherd"), line(f"{NODE}:w:anna"), line("other:x")]
    raw = ("\n".join(listed) + "\n").encode()
    assert client_names(raw).connections == {NODE: 2, f"{NODE}:w:anna": 1, "other:x": 1}
    assert client_names(b"").connections == {}


def test_a_connection_to_another_database_is_left_out() -> None:
    def at(database: int, name: str) -> str:
        return f"id=1 addr=a:1 name={name} age=1 flags=b db={database} sub=0 cmd=bzpopmin user=default"

    raw = "\n".join([at(0, NODE), at(1, NODE), at(1, "bull:x:w:db=0"), at(11, NODE)]).encode()
    assert client_names(raw).connections == {NODE: 1}
    assert client_names(raw, 1).connections == {NODE: 1, "bull:x:w:db=0": 1}


def test_an_idle_worker_waits_in_a_blocking_command() -> None:
    raw = "\n".join(
        f"id=1 name=bull:{name} age=1 db=0 cmd={command} user=u"
        for name, command in (("a", "bzpopmin"), ("b", "brpoplpush"), ("c", "brpop"), ("d", "hmget|x"))
    )
    assert set(client_names(raw.encode()).waiting) == {"bull:a", "bull:b"}


def test_the_length_of_a_line_is_learned() -> None:
    assert bytes_per_client(b"") == BYTES_PER_CLIENT
    raw = line("x" * 1000).encode() + b"\n"
    assert len(raw) < bytes_per_client(raw * 9) < len(raw) * 1.2


def test_a_name_that_is_no_utf8_spoils_nothing() -> None:
    raw = line(NODE).encode() + b"\n" + line("bull:").encode().replace(b"bull:", b"bull:\xff\xfe") + b"\n"
    assert client_names(raw).connections[NODE] == 1
    assert count_workers([client_names(raw)], MEANINGS, {MAIL})[MAIL] == 1


def test_five_thousand_clients_are_a_fraction_of_a_second_of_work() -> None:
    raw = "\n".join(line(f"{NODE}:w:{number}", number) for number in range(5000)).encode()
    assert count_workers([client_names(raw)], MEANINGS, {MAIL}) == {MAIL: 5000}


@pytest.mark.parametrize(
    ("names", "workers"),
    [
        ({NODE: 3}, 3),
        ({NODE: 1, f"{NODE}:w:anna": 1, f"{NODE}:w:bert": 2}, 4),
        ({"bull:mail": 2}, 1),  # a Python worker names both its connections
        ({"bull:mail": 4, "bull:mail:w:kaa": 2}, 3),
        ({"bull:mail": 1}, 1),  # one is being connected
        ({NODE: 2, "bull:mail": 2}, 3),
        ({f"{NODE}:qe": 1, NODE: 1}, 1),
    ],
)
def test_workers_of_one_server(names: dict[str, int], workers: int) -> None:
    assert count_workers([connected(names)], MEANINGS, {MAIL}) == {MAIL: workers}


def test_in_a_cluster_the_node_that_sees_most_counts() -> None:
    nodes = [connected({NODE: 1}), connected({NODE: 3}), connected({"bull:b3JkZXJz": 1})]
    assert count_workers(nodes, MEANINGS, set()) == {MAIL: 3, QueueId("bull", "orders"): 1}


@pytest.mark.parametrize(
    ("connections", "workers"),
    [
        ([3, 3, 3], 3),  # idle
        ([10, 2, 2], 2),  # at work on five jobs each
        ([15, 3, 3, 3], 3),
        ([10, 1, 1, 1, 1], 1),  # at work on ten
        ([0, 3, 3], 3),
        ([3], 3),  # idle, after all connections were lost
        ([8, 2], 2),
    ],
)
def test_pythons_workers_in_a_cluster(connections: list[int], workers: int) -> None:
    """As measured, the busiest node anywhere in the list."""
    nodes = [connected({"bull:mail": count}) for count in connections if count]
    for order in (nodes, nodes[::-1]):
        assert count_workers(order, MEANINGS, {MAIL}, cluster=True) == {MAIL: workers}


def test_pythons_workers_are_added_to_nodes() -> None:
    nodes = [connected({NODE: 2, "bull:mail": 5, "bull:mail:w:kaa": 1}), connected({NODE: 1, "bull:mail": 1})]
    assert count_workers(nodes, MEANINGS, {MAIL}, cluster=True) == {MAIL: 2 + 1 + 1}


def test_a_known_queue_decides_what_an_ambiguous_name_means() -> None:
    ambiguous = QueueId("bull", "bWFpbA==")
    assert count_workers([connected({NODE: 2})], MEANINGS, set()) == {MAIL: 2}
    assert count_workers([connected({NODE: 2})], MEANINGS, {ambiguous}) == {ambiguous: 1}
    assert count_workers([connected({NODE: 2})], MEANINGS, {ambiguous, MAIL}) == {MAIL: 2}


@pytest.mark.parametrize("newest", [1, 7, 300, 20_000, 90_000_000])
def test_a_sample_of_connections_is_small_and_has_the_newest(newest: int) -> None:
    ids = sample_ids(newest)
    assert newest in ids
    assert 1 <= min(ids) <= max(ids) == newest
    assert len(ids) <= 1000
