"""What to do about a server or a queue that cannot be read, by the kind of the error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Final, NamedTuple, TypeAlias

from exporter.conditions.finding import USER, redis_cli
from service.i18n import Message


class Context(NamedTuple):
    """A failure: its kind and its text, and the server at which it happened (HOST:PORT if that is not known).

    `key`: the queue's keys, with the colon at their end, where a queue is the subject.
    """

    kind: str
    text: str
    node: str
    sentinel: bool = False
    key: str = ""

    @property
    def cli(self) -> str:
        return redis_cli(self.node)


Texts: TypeAlias = Callable[[Context], Message]


@dataclass(frozen=True, slots=True)
class Advice:
    """`pattern` is searched in the text of a failure; `text` makes the advice."""

    pattern: re.Pattern[str]
    text: Texts


def advice(context: Context, rows: Sequence[Advice] | None = None) -> Message | None:
    """The advice for a failure; None where nothing more is known than that there is no answer."""
    row = next((row for row in rows or ADVICE if row.pattern.search(context.text)), None)
    if row is not None:
        return row.text(context)
    return _authenticate(context) if context.kind == "auth" else None


def first_advice(contexts: Iterable[Context], rows: Sequence[Advice] | None = None) -> Message | None:
    """The advice for the first failure for which there is one, of these rows or of `ADVICE`."""
    return next((text for context in contexts if (text := advice(context, rows)) is not None), None)


def _row(pattern: str, text: Texts) -> Advice:
    return Advice(re.compile(pattern), text)


def _permissions(context: Context) -> Message:
    return Message("issue.queue_system_down.recommendation_acl", command=f"{context.cli} acl log")


def _command_permission(context: Context) -> Message:
    """The command that was refused, in the form of ACL SETUSER: `+cluster|nodes`."""
    found = _NO_COMMAND.search(context.text)
    command = found.group(1).lower() if found else ""
    return Message(
        "issue.advice.permission",
        user=USER,
        right=f"+{command}",
        command=f"{context.cli} acl setuser {USER} {quote(f'+{command}')}",
    )


def _key_permission(context: Context) -> Message:
    """The prefix of the queue, as far as it is known, in the form of ACL SETUSER."""
    prefix, _, name = context.key.removesuffix(":").rpartition(":")
    if not name:
        return Message("issue.candidates_refused.recommendation", command=f"{context.cli} acl log")
    right = "%R~" + re.sub(r"([\\?*\[\]])", r"\\\1", prefix) + ":*"
    return Message(
        "issue.advice.keys",
        user=USER,
        setting="BULLMQ_PREFIXES",
        command=f"{context.cli} acl setuser {USER} {quote(right)}",
    )


def _authenticate(context: Context) -> Message:
    if context.sentinel:
        command = f"{context.cli} --askpass ping"
        return Message("issue.advice.password_sentinel", setting="REDIS_SENTINEL_PASSWORD", command=command)
    return Message(
        "issue.advice.password",
        user="REDIS_USERNAME",
        setting="REDIS_PASSWORD",
        file="REDIS_PASSWORD_FILE",
        command=f"{context.cli} --user {USER} --askpass ping",
    )


def _no_password(context: Context) -> Message:
    setting = "REDIS_SENTINEL_PASSWORD" if context.sentinel else "REDIS_PASSWORD"
    return Message("issue.advice.no_password", node=context.node, setting=setting)


def _port(context: Context) -> str:
    return context.node.rpartition(":")[2]


def _certificate(context: Context) -> str:
    """The command that shows the server's certificate; it ends by an option that says what of it."""
    connect = f"timeout 5 openssl s_client -connect {quote(context.node)}"
    return f"{connect} </dev/null 2>/dev/null | openssl x509 -noout"


def _resolve(context: Context) -> Message:
    before, found, _ = context.text.partition(": the host name cannot be resolved")
    host, _, port = (before.replace(";", " ").split() or [""])[-1].rpartition(":")
    if not (found and host and port.isdigit()):
        host = context.node.rpartition(":")[0]
    return Message("issue.advice.name", host=host, command=f"getent hosts {quote(host)}")


_NO_KEY: Final = re.compile(r"[Nn]o permissions to access (one of the keys|a key)")
_NO_COMMAND: Final = re.compile(r"no permissions to run the '([\w|-]+)' command")

ADVICE: Final = (
    _row(
        r"is a Sentinel",
        lambda context: Message(
            "issue.advice.sentinel",
            node=context.node,
            setting="REDIS_SENTINELS",
            name="REDIS_SENTINEL_MASTER",
        ),
    ),
    _row(
        r"No such master with that name",
        lambda context: Message(
            "issue.advice.sentinel_master",
            setting="REDIS_SENTINEL_MASTER",
            command=f"{context.cli} sentinel masters",
        ),
    ),
    _row(
        r"is not a cluster node",
        lambda context: Message("issue.advice.no_cluster", node=context.node, setting="REDIS_URL"),
    ),
    _row(_NO_COMMAND.pattern, _command_permission),
    _row(_NO_KEY.pattern, _key_permission),
    _row(r"NOPERM", _permissions),
    _row(r"without any password configured|no password is set", _no_password),
    _row(r"\b(NOAUTH|WRONGPASS)\b|invalid password", _authenticate),
    _row(
        r"\bDENIED\b",
        lambda context: Message("issue.advice.protected", node=context.node, setting="REDIS_PASSWORD"),
    ),
    _row(
        r"\bBUSY\b",
        lambda context: Message(
            "issue.advice.busy", script=f"{context.cli} script kill", function="FUNCTION KILL"
        ),
    ),
    _row(
        r"\bLOADING\b",
        lambda context: Message("issue.advice.loading", command=f"{context.cli} info persistence"),
    ),
    _row(
        r"\bMASTERDOWN\b",
        lambda context: Message("issue.advice.masterdown", command=f"{context.cli} info replication"),
    ),
    _row(
        r"max number of",
        lambda context: Message(
            "issue.advice.maxclients", node=context.node, command=f"ss -tn sport = :{_port(context)}"
        ),
    ),
    _row(
        r"\bWRONGTYPE\b",
        lambda context: Message(
            "issue.advice.wrong_type",
            setting="BULLMQ_QUEUES",
            prefixes="BULLMQ_PREFIXES",
            command=f"{context.cli} -c type {quote((context.key or 'PREFIX:NAME:') + 'wait')}",
        ),
    ),
    _row(
        r"\b(ASK|TRYAGAIN|MOVED|CLUSTERDOWN)\b|no node owns",
        lambda context: Message(
            "issue.advice.slots",
            check=f"redis-cli --cluster check {quote(context.node)}",
            fix=f"redis-cli --cluster fix {quote(context.node)}",
        ),
    ),
    _row(
        r"database refused",
        lambda context: Message("issue.advice.database", node=context.node, setting="REDIS_URL"),
    ),
    _row(r"host name cannot be resolved", _resolve),
    _row(
        r"tls\.(ca|cert|key)_file",
        lambda context: Message("issue.advice.tls_file", reason=context.text),
    ),
    _row(
        r"(?i)hostname mismatch|ip address mismatch",
        lambda context: Message(
            "issue.advice.tls_name",
            setting="REDIS_TLS_SERVER_NAME",
            command=f"{_certificate(context)} -ext subjectAltName",
        ),
    ),
    _row(
        r"certificate has expired|certificate is not yet valid",
        lambda context: Message(
            "issue.advice.tls_expired", node=context.node, command=f"{_certificate(context)} -dates"
        ),
    ),
    _row(
        r"the server's certificate",
        lambda context: Message(
            "issue.advice.tls_ca",
            node=context.node,
            setting="REDIS_TLS_CA_FILE",
            command=f"{_certificate(context)} -issuer",
        ),
    ),
    _row(
        r"client certificate|unknown ca|bad certificate|certificate required|certificate expired",
        lambda context: Message(
            "issue.advice.tls_client",
            node=context.node,
            certificate="REDIS_TLS_CERT_FILE",
            key="REDIS_TLS_KEY_FILE",
        ),
    ),
    _row(
        r"TLS port|port without TLS|not Redis protocol|wrong version number|before any reply",
        lambda context: Message(
            "issue.advice.tls_or_not",
            node=context.node,
            on="rediss://",
            off="redis://",
            command=f"{_certificate(context)} -subject",
        ),
    ),
)
"""The first row whose pattern is in the text counts."""

SILENCE: Final = (
    _row(
        r"connection refused",
        lambda context: Message(
            "issue.advice.refused", node=context.node, command=f"ss -ltn sport = :{_port(context)}"
        ),
    ),
    _row(
        r"no connection in time",
        lambda context: Message(
            "issue.advice.no_connection", node=context.node, command=f"timeout 5 {context.cli} ping"
        ),
    ),
    _row(
        r"in time",
        lambda context: Message(
            "issue.advice.no_answer", node=context.node, command=f"timeout 5 {context.cli} ping"
        ),
    ),
)
"""The same where no node answers: what a silence means. One node of several has others that tell of it."""
