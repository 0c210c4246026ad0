"""The rights that the exporter's Redis user needs, and the line that grants what is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Final, Literal, TypeAlias

from exporter.bullmq.keys import base
from exporter.conditions.finding import redis_cli
from exporter.doctor.model import Verdict
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot import QueueId
from service.i18n import Message

Need: TypeAlias = Literal["always", "cluster", "database", "scan", "events", "bull"]
"""Where a command is needed: `bull` with queues of Bull 3 and 4, the others by the settings and the mode."""
_BULL_EVENTS: Final = ("active", "waiting", "stalled", "duplicated", "debounced")
_PROBE: Final = "oxherd-doctor"  # the end of a key that does not exist


@dataclass(frozen=True, slots=True)
class Right:
    """A command as ACL SETUSER names it, its arguments ({key}: a key of a queue, {channel}, {pattern}: what
    Bull publishes), where it is needed, and how bad its absence is."""

    name: str
    arguments: tuple[str, ...] = ()
    need: Need = "always"
    verdict: Verdict = "wrong"

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
class Missing:
    """What the server refuses, as ACL SETUSER names it: a command, a pattern of keys (`~bull:*`), or patterns
    of channels (`&bull:*`)."""

    rights: tuple[str, ...]
    verdict: Verdict = "wrong"


RIGHTS: Final = (
    Right("ping"),
    Right("info", ("server",)),
    Right("cluster|info", need="cluster"),
    Right("cluster|nodes", need="cluster"),
    Right("cluster|shards", need="cluster", verdict="warning"),
    Right("asking", need="cluster", verdict="warning"),
    Right("slowlog|len", verdict="warning"),
    Right("select", ("{database}",), need="database"),
    Right("client|setname", ("oxherd",), verdict="warning"),
    Right("client|list", ("ID", "0"), verdict="warning"),
    Right("scan", ("0", "COUNT", "1"), need="scan"),
    Right("exists", ("{key}",)),
    Right("type", ("{key}",)),
    Right("get", ("{key}",)),
    Right("pttl", ("{key}",)),
    Right("hmget", ("{key}", "version")),
    Right("llen", ("{key}",)),
    Right("lindex", ("{key}", "-1")),
    Right("lrange", ("{key}", "0", "0"), need="events"),
    Right("zcard", ("{key}",)),
    Right("zcount", ("{key}", "0", "1")),
    Right("zrange", ("{key}", "0", "0")),
    Right("xread", ("COUNT", "1", "STREAMS", "{key}", "$"), need="events"),
    Right("xinfo|stream", ("{key}",), need="events"),
    Right("xlen", ("{key}",), need="events", verdict="warning"),
    Right("memory|usage", ("{key}",), need="events", verdict="warning"),
    Right("time", verdict="warning"),
    Right("hstrlen", ("{key}", "returnvalue"), need="bull"),
    Right("subscribe", ("{channel}",), need="bull"),
    Right("unsubscribe", ("{channel}",), need="bull"),
    Right("psubscribe", ("{pattern}",), need="bull"),
)
"""The commands of deploy/redis/exporter.acl."""


def needed_rights(needs: Iterable[Need]) -> tuple[Right, ...]:
    """The rights that are needed with these settings, this mode and these queues."""
    known = {"always", *needs}
    return tuple(right for right in RIGHTS if right.need in known)


def missing_right(right: Right, reply: Reply, prefix: str) -> Missing | None:
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
            return Missing((f"~{escaped_prefix(prefix)}:*",))
        return Missing(tuple(f"&{pattern}" for pattern in _channels(prefix)), right.verdict)
    return Missing((f"+{right.name}",), right.verdict)


def grant_lines(
    user: str, missing: Sequence[Missing], addresses: Sequence[str], *, version: str, cluster: bool
) -> tuple[str, ...]:
    """The commands that grant what is missing, on each of the servers: each has its own ACLs."""
    words = [_word(right, version) for part in missing for right in part.rights]
    grant = " ".join(("acl", "setuser", quote(user), *dict.fromkeys(quote(word) for word in words)))
    if cluster and len(addresses) > 1:
        return (f"redis-cli --cluster call {addresses[0]} {grant}",)
    return tuple(f"{redis_cli(address)} {grant}" for address in addresses)


def lacking(missing: Iterable[Missing]) -> Message:
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
