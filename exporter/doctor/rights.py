"""The rights that the exporter's Redis user needs, and the line that grants what is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Final, Literal, TypeAlias

from exporter.bullmq.keys import base
from exporter.conditions.finding import redis_cli
from exporter.doctor.model import CheckStatus
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.queues import QueueId
from service.i18n import Message

Need: TypeAlias = Literal["always", "cluster", "database", "scan", "events", "bull"]
"""Where a command is needed: `bull` with queues of Bull 3 and 4, the others by the settings and the mode."""
_BULL_EVENTS: Final = ("active", "waiting", "stalled", "duplicated", "debounced")
_PROBE: Final = "oxherd-doctor"  # the end of a key that does not exist


@dataclass(frozen=True, slots=True)
class RedisRight:
    """A command as ACL SETUSER names it, its arguments ({key}: a key of a queue, {channel}, {pattern}: what
    Bull publishes), where it is needed, and how bad its absence is."""

    name: str
    arguments: tuple[str, ...] = ()
    need: Need = "always"
    status: CheckStatus = "wrong"

    def command(self, queue: QueueId, database: int) -> tuple[str, ...]:
        """The command, on a key of the queue that does not exist: nothing is read."""
        values = {
            "key": base(queue) + _PROBE,
            "channel": base(queue) + "completed",
            "pattern": f"{escaped_prefix(queue.prefix)}:*:{_BULL_EVENTS[0]}@*",
            "database": database,
        }
        return (*self.name.upper().split("|"), *(part.format_map(values) for part in self.arguments))

    @property
    def subscribes(self) -> bool:
        """Whether the connection is of no other use after it."""
        return "subscribe" in self.name


@dataclass(frozen=True, slots=True)
class MissingRight:
    """What the server refuses, as ACL SETUSER names it: a command, a pattern of keys (`~bull:*`), or patterns
    of channels (`&bull:*`)."""

    rights: tuple[str, ...]
    status: CheckStatus = "wrong"


RIGHTS: Final = (
    RedisRight("ping"),
    RedisRight("info", ("server",)),
    RedisRight("cluster|info", need="cluster"),
    RedisRight("cluster|nodes", need="cluster"),
    RedisRight("cluster|shards", need="cluster", status="warning"),
    RedisRight("asking", need="cluster", status="warning"),
    RedisRight("slowlog|len", status="warning"),
    RedisRight("select", ("{database}",), need="database"),
    RedisRight("client|setname", ("oxherd",), status="warning"),
    RedisRight("client|list", ("ID", "0"), status="warning"),
    RedisRight("scan", ("0", "COUNT", "1"), need="scan"),
    RedisRight("exists", ("{key}",)),
    RedisRight("type", ("{key}",)),
    RedisRight("get", ("{key}",)),
    RedisRight("pttl", ("{key}",)),
    RedisRight("hmget", ("{key}", "version")),
    RedisRight("llen", ("{key}",)),
    RedisRight("lindex", ("{key}", "-1")),
    RedisRight("lrange", ("{key}", "0", "0"), need="events"),
    RedisRight("zcard", ("{key}",)),
    RedisRight("zcount", ("{key}", "0", "1")),
    RedisRight("zrange", ("{key}", "0", "0")),
    RedisRight("xread", ("COUNT", "1", "STREAMS", "{key}", "$"), need="events"),
    RedisRight("xinfo|stream", ("{key}",), need="events"),
    RedisRight("xlen", ("{key}",), need="events", status="warning"),
    RedisRight("memory|usage", ("{key}",), need="events", status="warning"),
    RedisRight("time", status="warning"),
    RedisRight("hstrlen", ("{key}", "returnvalue"), need="bull"),
    RedisRight("subscribe", ("{channel}",), need="bull"),
    RedisRight("unsubscribe", ("{channel}",), need="bull"),
    RedisRight("psubscribe", ("{pattern}",), need="bull"),
)
"""The commands of deploy/redis/exporter.acl."""


def needed_rights(needs: Iterable[Need]) -> tuple[RedisRight, ...]:
    """The rights that are needed with these settings, this mode and these queues."""
    known = {"always", *needs}
    return tuple(right for right in RIGHTS if right.need in known)


def missing_right(right: RedisRight, reply: Reply, prefix: str) -> MissingRight | None:
    """What a reply to the command, or to ACL DRYRUN of it, says is missing; None: it is allowed.

    The texts differ between versions; all name what is refused: a command, keys or channels.
    """
    if isinstance(reply, ReplyError):
        text = str(reply) if reply.code == "NOPERM" else ""
    else:
        text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else ""
        text = text if "permission" in text else ""
    if not text:
        return None
    if "to run the" not in text:
        if text.endswith(" key") or "keys used" in text:
            return MissingRight((f"~{escaped_prefix(prefix)}:*",))
        return MissingRight(tuple(f"&{pattern}" for pattern in _channels(prefix)), right.status)
    return MissingRight((f"+{right.name}",), right.status)


def grant_lines(
    user: str, missing: Sequence[MissingRight], addresses: Sequence[str], *, version: str, cluster: bool
) -> tuple[str, ...]:
    """The commands that grant what is missing, on each of the servers: each has its own ACLs."""
    words = [_word(right, version) for part in missing for right in part.rights]
    grant = " ".join(("acl", "setuser", quote(user), *dict.fromkeys(quote(word) for word in words)))
    if cluster and len(addresses) > 1:
        return (f"redis-cli --cluster call {addresses[0]} {grant}",)
    return tuple(f"{redis_cli(address)} {grant}" for address in addresses)


def lacking(missing: Iterable[MissingRight]) -> Message:
    """The rights, for a text."""
    return Message(
        "issue.text", text=", ".join(dict.fromkeys(right for part in missing for right in part.rights))
    )


def _word(right: str, version: str) -> str:
    """`%R~` is read access only, from Redis 7.0 on."""
    return f"%R{right}" if right.startswith("~") and not version.startswith("6.") else right


def escaped_prefix(prefix: str) -> str:
    """A prefix as a part of a glob pattern."""
    return "".join("\\" + sign if sign in "*?[\\" else sign for sign in prefix)


def _channels(prefix: str) -> list[str]:
    """Redis allows PSUBSCRIBE only for patterns that are there word for word."""
    start = escaped_prefix(prefix)
    return [f"{start}:*", *(f"{start}:*:{kind}@*" for kind in _BULL_EVENTS)]
