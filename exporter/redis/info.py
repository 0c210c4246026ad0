"""INFO, its rows, and what one node's replies say, without I/O. Odd text costs its own field, never more."""

from __future__ import annotations

from typing import Final

from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot import CommandStat, Info, Keyspace, Role
from service.outcome import Failed

_COMMAND: Final = "cmdstat_"
_REFUSALS: Final = {"NOAUTH": "auth", "DENIED": "auth", "NOPERM": "refused", "LOADING": "loading"}
_ROLES: Final[dict[str, Role]] = {"master": "master", "slave": "replica", "replica": "replica"}


def decode_text(raw: str | bytes) -> str:
    """A reply as text; what is not UTF-8 (a key name in an error, a host name) is replaced, not refused."""
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw


def parse_info(raw: str | bytes) -> Info:
    """`name:value` lines of INFO or CLUSTER INFO; section headings and whatever else is passed over."""
    fields: dict[str, str] = {}
    for line in decode_text(raw).split("\n"):
        name, colon, value = line.partition(":")
        if colon and name and not name.startswith("#"):
            fields[name] = value.strip()
    return Info(fields)


def parse_commands(info: Info) -> dict[str, CommandStat]:
    """Rows of INFO commandstats by command, subcommands as the server writes them (`config|get`)."""
    found: dict[str, CommandStat] = {}
    for name, row in info.fields.items():
        if name.startswith(_COMMAND):
            numbers = _numbers(row)
            if "calls" in numbers and "usec" in numbers:
                found[name.removeprefix(_COMMAND)] = CommandStat(numbers["calls"], numbers["usec"] / 1e6)
    return found


def parse_keyspace(info: Info) -> dict[str, Keyspace]:
    """Rows of INFO keyspace by database. The server lists only databases that have keys."""
    found: dict[str, Keyspace] = {}
    for name, row in info.fields.items():
        if name.startswith("db") and name[2:].isdecimal():
            numbers = _numbers(row)
            if "keys" in numbers:
                found[name] = Keyspace(numbers["keys"], numbers.get("expires", 0))
    return found


def whole(info: Info, name: str) -> int | None:
    """The field as a whole number from 0, or None."""
    raw = info.text(name) or ""
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) <= 20 else None


def mode_of(info: Info) -> str:
    """standalone, cluster or sentinel; Valkey may call the field server_mode. Empty when it says neither."""
    return info.text("redis_mode") or info.text("server_mode") or ""


def role_of(info: Info) -> Role:
    """INFO's role in our words: master, replica, or unknown."""
    return _ROLES.get(info.text("role") or "", "unknown")


def failed_reply(command: str, reply: Reply) -> Failed:
    """Why a reply that should have been a text is none."""
    if not isinstance(reply, ReplyError):
        return Failed("protocol", f"{command}: the answer is no text")
    return Failed(_REFUSALS.get(reply.code, "error"), f"{command}: {reply}")


def _numbers(row: str) -> dict[str, int]:
    """The whole numbers of `a=1,b=2.5,c=x`: {"a": 1}."""
    numbers: dict[str, int] = {}
    for part in row.split(","):
        name, _, value = part.partition("=")
        if value.isascii() and value.isdigit() and len(value) <= 20:
            numbers[name] = int(value)
    return numbers
