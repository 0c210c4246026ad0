from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.keys import base
from exporter.bullmq.queue_commands import Key, QueueCommands
from exporter.redis.protocol import pack_request
from exporter.snapshot.queues import QueueId

COMMANDS = QueueCommands(
    ("EXISTS", Key("id"), Key("events")), ("LRANGE", Key("active"), 0, 9), ("HMGET", Key("meta"), "version")
)
TEXTS = st.text(st.characters(exclude_categories=()), max_size=30)


@given(st.lists(st.builds(QueueId, TEXTS, TEXTS), max_size=5))
def test_they_are_packed_as_if_one_by_one(queues: list[QueueId]) -> None:
    for queue in queues:
        key = base(queue)
        commands = [
            ("EXISTS", key + "id", key + "events"),
            ("LRANGE", key + "active", 0, 9),
            ("HMGET", key + "meta", "version"),
        ]
        try:
            expected = pack_request(commands)
        except UnicodeEncodeError:  # half of a pair: no name from Redis has one
            continue
        assert COMMANDS.request(queue) == expected


def test_a_name_like_the_template_is_only_a_name() -> None:
    for name in ("base", "\udcff\udcfebase\udcfe\udcff", "\udcff" * 7):
        queue = QueueId("p", name)
        key = base(queue)
        expected = pack_request(
            [
                ("EXISTS", key + "id", key + "events"),
                ("LRANGE", key + "active", 0, 9),
                ("HMGET", key + "meta", "version"),
            ]
        )
        assert COMMANDS.request(queue) == expected
