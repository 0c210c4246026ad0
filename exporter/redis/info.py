"""Parses INFO and its rows. Without I/O. Text that cannot be parsed affects only its own field."""

from __future__ import annotations

from typing import Final

from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.redis import CommandStat, Info, Keyspace, Role
from service.outcome import Failed

_COMMAND: Final = "cmdstat_"
_REFUSALS: Final = {"NOAUTH": "auth", "DENIED": "auth", "NOPERM": "refused", "LOADING": "loading"}
_ROLES: Final[dict[str, Role]] = {"master": "master", "slave": "replica", "replica": "replica"}


def decode_text(raw: str | bytes) -> str:
    """A reply as text; bytes that are not UTF-8 (a key name in an error, a host name) are replaced."""
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw


def parse_info(raw: str | bytes) -> Info:
    """`name:value` lines of INFO or CLUSTER INFO; section headings and all other lines are ignored."""
    fields: dict[str, str] = {}
    for line in decode_text(raw).split("\n"):
        name, colon, value = line.partition(":")
        if colon and name and not name.startswith("#"):
            fields[name] = value.strip()
    return Info(fields)


def parse_commands(info: Info) -> dict[str, CommandStat]:
    """Rows of INFO commandstats by command, subcommands as the server writes them (`config|get`)."""
    stats: dict[str, CommandStat] = {}
    for name, row in info.fields.items():
        if name.startswith(_COMMAND):
            numbers = _numbers(row)
            if "calls" in numbers and "usec" in numbers:
                stats[name.removeprefix(_COMMAND)] = CommandStat(numbers["calls"], numbers["usec"] / 1e6)
    return stats


def parse_keyspace(info: Info) -> dict[str, Keyspace]:
    """Rows of INFO keyspace by database. The server lists only databases that have keys."""
    databases: dict[str, Keyspace] = {}
    for name, row in info.fields.items():
        if name.startswith("db") and name[2:].isdecimal():
            numbers = _numbers(row)
            if "keys" in numbers:
                databases[name] = Keyspace(numbers["keys"], numbers.get("expires", 0))
    return databases


def whole_number(info: Info, name: str) -> int | None:
    """The field as a whole number of at least 0, else None."""
    raw = info.text(name) or ""
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) <= 20 else None


def mode_of(info: Info) -> str:
    """standalone, cluster or sentinel; Valkey may name the field server_mode. Empty without both fields."""
    return info.text("redis_mode") or info.text("server_mode") or ""


def role_of(info: Info) -> Role:
    """The role that INFO reports: master, replica, or unknown."""
    return _ROLES.get(info.text("role") or "", "unknown")


def failed_reply(command: str, reply: Reply) -> Failed:
    """The failure for a reply that should have been a bulk string."""
    if not isinstance(reply, ReplyError):
        return Failed("protocol", f"{command}: the reply is not text")
    return Failed(_REFUSALS.get(reply.code, "error"), f"{command}: {reply}")


def _numbers(row: str) -> dict[str, int]:
    """The whole numbers of `a=1,b=2.5,c=x`: {"a": 1}."""
    numbers: dict[str, int] = {}
    for part in row.split(","):
        name, _, value = part.partition("=")
        if value.isascii() and value.isdigit() and len(value) <= 20:
            numbers[name] = int(value)
    return numbers
