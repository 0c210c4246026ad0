from __future__ import annotations

from exporter.bullmq.search.scan import KEYSPACE, Scan
from exporter.redis.protocol import Reply, ReplyError
from service.outcome import Failed, Ok


def test_each_master_goes_on_at_its_cursor() -> None:
    scan = Scan(database=0)
    first = scan.commands(["a", "b"], "*")
    assert first["a"] == [KEYSPACE, ("SCAN", b"0", "MATCH", "*", "COUNT", 1000)]
    keyspace = b"# Keyspace\r\ndb0:keys=1200,expires=0\r\ndb1:keys=9,expires=0\r\n"
    page: list[Reply] = [b"17", [b"x:meta", b"\xff:id"]]
    keys = list(scan.take({"a": Ok([keyspace, page]), "b": Failed("timeout", "no answer")}))
    assert keys == ["x:meta", "\udcff:id"]
    assert (scan.done, scan.read, scan.refused) == ({"b"}, False, {"b": "no answer"})
    assert scan.commands(["a", "b"], "*") == {"a": [("SCAN", b"17", "MATCH", "*", "COUNT", 1000)]}
    assert list(scan.take({"a": Ok([[b"0", []]])})) == []
    assert (scan.done, scan.read, scan.keys) == ({"a", "b"}, True, {"a": 1200})


def test_a_refused_call_ends_the_search_of_that_master() -> None:
    scan = Scan(database=1)
    assert list(scan.take({"a": Ok([ReplyError("NOPERM"), ReplyError("NOPERM no scan")])})) == []
    assert (scan.done, scan.refused, scan.read) == ({"a"}, {"a": "NOPERM no scan"}, False)


def test_keys_are_those_of_the_database() -> None:
    scan = Scan(database=3)
    list(scan.take({"a": Ok([b"db0:keys=5,expires=0\r\n", [b"0", []]])}))
    assert scan.keys == {"a": 0}
