from __future__ import annotations

import pytest

from exporter.redis.connection.served import SERVED, served
from exporter.redis.protocol import Reply, ReplyError

SERVER = b"# Server\r\nredis_version:7.0.15\r\nrun_id:aa11\r\ntcp_port:6379\r\n"
REPLICATION = b"# Replication\r\nrole:master\r\nmaster_replid:bb22\r\nmaster_replid2:0000\r\n"


def test_the_ids_of_run_and_replication() -> None:
    assert served([SERVER, REPLICATION]) == (b"aa11", b"bb22")
    assert SERVED.replies == 2


@pytest.mark.parametrize(
    "replies",
    [
        [ReplyError("NOPERM no"), REPLICATION],
        [SERVER, ReplyError("NOPERM no")],
        [b"# Server\r\nredis_version:7.0.15\r\n", REPLICATION],
        [SERVER, b"# Replication\r\nrole:master\r\n"],
        [None, None],
    ],
)
def test_what_a_server_does_not_tell(replies: list[Reply]) -> None:
    assert served(replies) is None
