from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.redis.info import (
    failed_reply,
    mode_of,
    parse_commands,
    parse_info,
    parse_keyspace,
    role_of,
    whole_number,
)
from exporter.redis.protocol import ReplyError
from exporter.snapshot.redis import CommandStat, Keyspace

FIXTURES = Path(__file__).parents[3] / "fixtures"
VERSIONS = sorted(path.parent.name for path in FIXTURES.glob("redis-*/info.txt"))

# The fields that our series are made of; every supported version has them all.
OURS = [
    "uptime_in_seconds",
    "connected_clients",
    "blocked_clients",
    "maxclients",
    "used_memory",
    "maxmemory",
    "used_memory_rss",
    "used_memory_peak",
    "total_system_memory",
    "mem_fragmentation_ratio",
    "total_commands_processed",
    "keyspace_hits",
    "keyspace_misses",
    "total_net_input_bytes",
    "total_net_output_bytes",
    "expired_keys",
    "evicted_keys",
    "rejected_connections",
    "connected_slaves",
    "master_repl_offset",
    "rdb_last_save_time",
    "tcp_port",
]


def test_all_versions_are_here() -> None:
    assert len(VERSIONS) == 8


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_has_our_fields(version: str) -> None:
    info = parse_info((FIXTURES / version / "info.txt").read_bytes())
    assert [name for name in OURS if info.number(name) is None] == []
    assert info.text("aof_last_write_status") == "ok"
    assert info.text("maxmemory_policy") == "noeviction"
    assert (mode_of(info), role_of(info)) == ("cluster", "master")
    assert parse_keyspace(info).keys() == {"db0"}
    assert 0 < parse_keyspace(info)["db0"].expiring < parse_keyspace(info)["db0"].keys


@pytest.mark.parametrize("version", VERSIONS)
def test_a_replica_of_every_version(version: str) -> None:
    info = parse_info((FIXTURES / version / "info-replica.txt").read_bytes())
    assert role_of(info) == "replica"
    assert info.text("master_link_status") == "up"
    assert info.number("slave_repl_offset") is not None
    assert info.number("master_last_io_seconds_ago") is not None


@pytest.mark.parametrize("version", VERSIONS)
def test_command_statistics_of_every_version(version: str) -> None:
    commands = parse_commands(parse_info((FIXTURES / version / "commandstats.txt").read_bytes()))
    assert commands["set"].calls > 0
    assert 0 < commands["set"].seconds < 1


@pytest.mark.parametrize("version", VERSIONS)
def test_cluster_info_of_every_version(version: str) -> None:
    info = parse_info((FIXTURES / version / "cluster-info.txt").read_bytes())
    assert info.text("cluster_state") == "ok"
    assert info.number("cluster_slots_assigned") == 16384
    assert info.number("cluster_size") == 3


def test_rows() -> None:
    info = parse_info(
        b"# Commandstats\r\n"
        b"cmdstat_config|get:calls=3,usec=1500000,usec_per_call=0.5,rejected_calls=0,failed_calls=0\r\n"
        b"cmdstat_odd:calls=many,usec=1\r\ncmdstat_half:calls=1\r\n"
        b"# Keyspace\r\ndb0:keys=7,expires=2,avg_ttl=5\r\ndb12:keys=1,avg_ttl=0,subexpiry=0\r\n"
        b"dbx:keys=1\r\ndb3:keys=-1\r\n"
    )
    assert parse_commands(info) == {"config|get": CommandStat(3, 1.5)}
    assert parse_keyspace(info) == {"db0": Keyspace(7, 2), "db12": Keyspace(1, 0)}


def test_a_value_may_hold_colons_and_odd_bytes() -> None:
    info = parse_info(b"executable:/a:b/\xff\r\nnothing\r\n:x\r\nempty:\r\n#a:b\n")
    assert info.fields == {"executable": "/a:b/\ufffd", "empty": ""}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("7", 7),
        ("-7", None),
        ("inf", None),
        ("7.5", None),
        ("", None),
        ("\N{ARABIC-INDIC DIGIT SEVEN}", None),
    ],
)
def test_whole(raw: str, expected: int | None) -> None:
    assert whole_number(parse_info(f"a:{raw}"), "a") == expected
    assert whole_number(parse_info(""), "a") is None


@pytest.mark.parametrize("raw", ["inf", "-inf", "nan", "1e308", "-1e308", "1e-320", "-1e-320", "x", ""])
def test_what_is_no_figure_of_a_server(raw: str) -> None:
    """1e308 kB are an infinite number of bytes, and so is a share of 1e-320 of them."""
    assert parse_info(f"a:{raw}").number("a") is None
    assert parse_info("a:-7.5").number("a") == -7.5


def test_refusals() -> None:
    assert failed_reply("INFO", ReplyError("NOPERM no")).kind == "refused"
    assert failed_reply("INFO", ReplyError("NOAUTH no")).kind == "auth"
    assert failed_reply("INFO", ReplyError("LOADING yes")).kind == "loading"
    assert failed_reply("INFO", ReplyError("ERR what")).kind == "error"
    assert failed_reply("INFO", 7).kind == "protocol"


_ROWS = st.builds(
    "{}:{}".format,
    st.sampled_from(["cmdstat_a", "db0", "db\N{ARABIC-INDIC DIGIT THREE}", "maxclients"]),
    st.text(),
)


@given(st.one_of(st.binary(), st.text(), st.lists(_ROWS).map("\n".join)))
def test_nothing_raises(raw: str | bytes) -> None:
    info = parse_info(raw)
    assert all(isinstance(name, str) for name in parse_commands(info) | parse_keyspace(info))
    assert role_of(info) in ("master", "replica", "unknown")
    assert mode_of(info) is not None
    for name in info.fields:
        number = whole_number(info, name)
        assert number is None or number >= 0
