from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.redis.protocol import Reply, ReplyError, Request, pack_request
from exporter.redis.redirect import Redirects, met_half_moved_slot, split_request

ASK = ReplyError("ASK 4247 10.0.0.2:7002")
TRYAGAIN = ReplyError("TRYAGAIN Multiple keys request during rehashing of slot")
MOVED = ReplyError("MOVED 4247 10.0.0.2:7002")


def known(endpoint: str) -> str | None:
    return endpoint if endpoint == "10.0.0.2:7002" else None


@given(st.lists(st.lists(st.binary(), min_size=1), max_size=5))
def test_split_is_the_reverse_of_pack(commands: list[list[bytes]]) -> None:
    assert split_request(pack_request(tuple(command) for command in commands)) == commands


def test_other_errors_are_not_redirected() -> None:
    assert not met_half_moved_slot([1, b"x", None, MOVED, ReplyError("WRONGTYPE ...")])
    assert met_half_moved_slot([1, ASK])
    assert met_half_moved_slot([TRYAGAIN])


def test_only_the_refused_commands_are_sent_again_each_after_asking() -> None:
    redirects = Redirects(pack_request([("LLEN", "a"), ("LLEN", "b"), ("ZCARD", "c")]), [ASK, 3, ASK])
    assert redirects.single_keys() is None
    expected = pack_request([("ASKING",), ("LLEN", "a"), ("ASKING",), ("ZCARD", "c")])
    assert redirects.asking(known) == {"10.0.0.2:7002": expected}
    redirects.apply_asked({"10.0.0.2:7002": [b"OK", 5, b"OK", 0]})
    assert redirects.replies == [5, 3, 0]


def test_several_keys_are_asked_for_one_by_one_and_summed() -> None:
    request = pack_request([("EXISTS", "a", "b", "c")])
    redirects = Redirects(request, [TRYAGAIN])
    assert redirects.single_keys() == pack_request([("EXISTS", "a"), ("EXISTS", "b"), ("EXISTS", "c")])
    redirects.apply_single_keys([1, ASK, ASK])
    assert list(redirects.asking(known)) == ["10.0.0.2:7002"]
    redirects.apply_asked({"10.0.0.2:7002": [b"OK", 1, b"OK", 0]})
    assert redirects.replies == [2]


def test_nothing_is_sent_to_a_node_that_is_not_known() -> None:
    stranger = ReplyError("ASK 4247 192.0.2.1:6379")
    redirects = Redirects(pack_request([("LLEN", "a")]), [stranger])
    assert redirects.asking(known) == {}
    redirects.apply_asked({})
    assert redirects.replies == [stranger]


def test_a_refused_asking_is_the_reply() -> None:
    refused = ReplyError("NOPERM this user has no permissions to run the 'asking' command")
    redirects = Redirects(pack_request([("LLEN", "a")]), [ASK])
    redirects.asking(known)
    redirects.apply_asked({"10.0.0.2:7002": [refused, MOVED]})
    assert redirects.replies == [refused]


def test_a_command_that_cannot_be_split_keeps_its_error() -> None:
    replies: list[Reply] = [TRYAGAIN]
    redirects = Redirects(Request(pack_request([("MGET", "a", "b")]).packed, 1), replies)
    assert (redirects.single_keys(), redirects.asking(known)) == (None, {})
    redirects.apply_asked({})
    assert redirects.replies == replies
