"""Checks of the Redis servers: reachable, version, memory, persistence, buffers, rights, clocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from shlex import quote
from typing import Final

from exporter.conditions.advice import Context, first_advice
from exporter.conditions.finding import USER, first_few, redis_cli
from exporter.doctor.examination import Examination, RedisLook
from exporter.doctor.model import Diagnosis, Fix
from exporter.doctor.rights import grant_lines, lacking
from exporter.redis.connection.access import PROMPT_OPTION
from exporter.redis.protocol import MOST_DIGITS
from exporter.snapshot.redis import NodeReading
from service.i18n import Message
from service.outcome import Failed
from service.units import duration, size

_OLDEST: Final = (5, 0, 0)  # BullMQ does not start below it: there are no streams
_ADVISED: Final = (6, 2, 0)  # BullMQ warns below it: blocking commands wait whole seconds
_BLOCKS_SHORTLY: Final = (7, 0, 8)  # below it BZPOPMIN with 1 ms blocks for ever
_CLASS_FIELDS: Final = 4  # of client-output-buffer-limit: class, hard, soft, seconds
_LARGEST_REPLY: Final = 16 << 20  # bytes: twice what is asked of a stream at most (budget.MAX_ENTRY)
_PUBLISHED: Final = 8 << 20  # bytes that a minute without reading may leave: Redis' own soft limit


def check_redis(examination: Examination) -> Iterator[Diagnosis]:
    """Whether all nodes answer with these settings."""
    if isinstance(examination.redis, Failed):
        yield Diagnosis("redis", "wrong", Message("doctor.redis.unread", reason=examination.redis.message))
        return
    if examination.redis is None:
        return
    look = examination.redis.value
    failed = {address: out for address, out in look.state.nodes.items() if isinstance(out, Failed)}
    if not failed:
        yield Diagnosis(
            "redis",
            "good",
            Message("doctor.redis.good", mode=look.state.topology.mode, count=len(look.state.nodes)),
        )
        return
    failures = [f"{address}: {out.message}" for address, out in sorted(failed.items())]
    first = min(failed)
    login = f" --user {USER} {PROMPT_OPTION}" if failed[first].kind == "auth" else ""
    advice = first_advice(Context(out.kind, out.message, node) for node, out in sorted(failed.items()))
    reached = look.state.reachable
    effect = Message("doctor.redis.some_effect") if reached else Message("doctor.redis.none_effect")
    yield Diagnosis(
        "redis",
        "wrong",
        Message("doctor.redis.silent", failures=first_few(failures)),
        advice or effect,
        (Fix("shell", (f"{redis_cli(first)}{login} ping",)),),
    )


def check_version(examination: Examination) -> Iterator[Diagnosis]:
    """Versions with which BullMQ does not work, or works worse."""
    look = examination.look
    for address, reading in sorted(look.state.readings().items()) if look else ():
        version = server_version(reading)
        text = ".".join(map(str, version))
        if not version:
            yield _absent("version", "redis_version", address)
        elif version < _OLDEST:
            yield Diagnosis(
                "version",
                "wrong",
                Message("doctor.version.too_old", node=address, version=text),
                Message("doctor.version.too_old_effect"),
            )
        elif version < _ADVISED:
            yield Diagnosis(
                "version",
                "warning",
                Message("doctor.version.old", node=address, version=text),
                Message("doctor.version.old_effect"),
            )
        elif (7, 0, 0) <= version < _BLOCKS_SHORTLY:
            yield Diagnosis(
                "version",
                "warning",
                Message("doctor.version.blocks", node=address, version=text),
                Message("doctor.version.blocks_effect"),
            )
        else:
            continue
        return
    if look:
        versions = sorted(
            {reading.info.text("redis_version") or "?" for reading in look.state.readings().values()}
        )
        yield Diagnosis("version", "good", Message("doctor.version.good", versions=", ".join(versions)))


def check_eviction(examination: Examination) -> Iterator[Diagnosis]:
    """A policy that removes keys; without a memory limit it acts once somebody sets one."""
    look = examination.look
    if look is None:
        return
    evicting = {
        address: reading
        for address, reading in look.state.readings().items()
        if reading.info.text("maxmemory_policy") not in (None, "noeviction")
    }
    if not evicting:
        readings = look.state.readings()
        silent = [node for node in sorted(readings) if readings[node].info.text("maxmemory_policy") is None]
        yield (
            _absent("eviction", "maxmemory_policy", silent[0])
            if silent
            else Diagnosis("eviction", "good", Message("doctor.eviction.good"))
        )
        return
    limited = {address: reading for address, reading in evicting.items() if reading.info.number("maxmemory")}
    address = min(limited or evicting)
    policy = evicting[address].info.text("maxmemory_policy") or ""
    lines = [f"{redis_cli(node)} config set maxmemory-policy noeviction" for node in sorted(evicting)]
    limit = size(evicting[address].info.number("maxmemory"))
    yield Diagnosis(
        "eviction",
        "wrong" if limited else "warning",
        Message("doctor.eviction.seen", node=address, policy=policy, count=len(evicting)),
        Message("doctor.eviction.effect", limit=limit)
        if limited
        else Message("doctor.eviction.unlimited_effect"),
        (Fix("shell", tuple(lines)),),
    )


def check_persistence(examination: Examination) -> Iterator[Diagnosis]:
    """Masters that write nothing to disk: jobs are gone after a restart."""
    look = examination.look
    off, unknown = [], []
    for address, reading in look.masters.items() if look else ():
        save = look.configs[address].values.get("save") if look and address in look.configs else None
        append_only = reading.info.text("aof_enabled")
        if append_only == "0" and save == "":
            off.append(address)
        elif append_only in (None, "0") and not save:
            unknown.append(address)
    if off:
        lines = [f"{redis_cli(node)} config set appendonly yes" for node in off]
        yield Diagnosis(
            "persistence",
            "warning",
            Message("doctor.persistence.off", node=off[0], count=len(off)),
            Message("doctor.persistence.effect"),
            (Fix("shell", tuple(lines)),),
        )
    elif unknown:
        yield _refused_config("persistence", "save", unknown[0], look)
    elif look:
        yield Diagnosis("persistence", "good", Message("doctor.persistence.good"))


def check_output_buffers(examination: Examination) -> Iterator[Diagnosis]:
    """Limits at which Redis closes a connection of the exporter or of workers while they read."""
    look = examination.look
    if look is None:
        return
    limits = {
        address: parse_buffer_limits(config.values["client-output-buffer-limit"])
        for address, config in sorted(look.configs.items())
        if "client-output-buffer-limit" in config.values
    }
    if not limits:
        yield _refused_config(
            "output-buffers", "client-output-buffer-limit", min(look.state.readings()), look
        )
        return
    low = [
        (address, kind, limit, needed, off)
        for kind, needed, off in (
            ("normal", _LARGEST_REPLY, "0 0 0"),
            ("pubsub", _PUBLISHED, "33554432 8388608 60"),
        )
        for address, classes in limits.items()
        if 0 < (limit := classes.get(kind, 0)) < needed
    ]
    for address, kind, limit, needed, enough in low:
        value = quote(f"{kind} {enough}")
        yield Diagnosis(
            "output-buffers",
            "warning",
            Message(
                "doctor.output_buffers.seen", node=address, kind=kind, limit=size(limit), needed=size(needed)
            ),
            Message("doctor.output_buffers.effect"),
            (Fix("shell", (f"{redis_cli(address)} config set client-output-buffer-limit {value}",)),),
        )
    if not low:
        yield Diagnosis("output-buffers", "good", Message("doctor.output_buffers.good"))


def check_rights(examination: Examination) -> Iterator[Diagnosis]:
    """Commands, keys and channels that the user of the exporter may not use."""
    look = examination.look
    if look is None:
        return
    if not look.missing:
        yield Diagnosis("rights", "unchecked", Message("doctor.rights.unknown"))
        return
    refusing = {address: missing for address, missing in sorted(look.missing.items()) if missing}
    if not refusing:
        yield Diagnosis(
            "rights", "good", Message("doctor.rights.good", user=look.user, count=len(look.missing))
        )
        return
    missing = [part for parts in refusing.values() for part in parts]
    version = look.state.readings()[min(refusing)].info.text("redis_version") or ""
    cluster = look.state.topology.mode == "cluster"
    lines = grant_lines(look.user, missing, list(refusing), version=version, cluster=cluster)
    yield Diagnosis(
        "rights",
        "wrong" if any(part.status == "wrong" for part in missing) else "warning",
        Message(
            "doctor.rights.seen",
            user=look.user,
            node=min(refusing),
            rights=lacking(missing),
            count=len(refusing),
        ),
        Message("doctor.rights.effect"),
        (Fix("shell", lines),),
    )


def check_clocks(examination: Examination) -> Iterator[Diagnosis]:
    """Clocks that are apart: ages and delays are compared with them."""
    look = examination.look
    limit = examination.settings.health.thresholds.clock_offset_seconds
    readings = look.state.readings() if look else {}
    offsets = {node: reading.clock_offset for node, reading in readings.items()}
    known = {node: offset for node, offset in offsets.items() if offset is not None}
    if look is None:
        return
    if not known:
        yield Diagnosis("clocks", "unchecked", Message("doctor.clocks.unknown"))
        return
    worst = max(known, key=lambda node: abs(known[node]))
    if abs(known[worst]) <= limit:
        yield Diagnosis("clocks", "good", Message("doctor.clocks.good", limit=duration(limit)))
        return
    yield Diagnosis(
        "clocks",
        "warning",
        Message("doctor.clocks.seen", node=worst, offset=duration(abs(known[worst]))),
        Message("doctor.clocks.effect"),
        (Fix("shell", ("timedatectl set-ntp true",)),),
    )


def server_version(reading: NodeReading) -> tuple[int, ...]:
    """The version that BullMQ compares; Valkey reports the Redis that it is compatible with."""
    parts = (reading.info.text("redis_version") or "").split(".")
    return tuple(int(part) for part in parts if _is_number(part))


def parse_buffer_limits(text: str) -> Mapping[str, int]:
    """The hard limit of each class in bytes, 0 for none; `normal 0 0 0 slave 268435456 67108864 60 ...`."""
    words = text.split()
    limits: dict[str, int] = {}
    for start in range(0, len(words) - _CLASS_FIELDS + 1, _CLASS_FIELDS):
        kind, hard = words[start : start + 2]
        if _is_number(hard):
            limits[kind] = int(hard)
    return limits


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS


def _absent(check: str, field: str, node: str) -> Diagnosis:
    """Managed servers leave fields out of INFO."""
    return Diagnosis(check, "unchecked", Message("doctor.info.absent", node=node, field=field))


def _refused_config(check: str, parameter: str, node: str, look: RedisLook | None) -> Diagnosis:
    config = look.configs.get(node) if look else None
    return Diagnosis(
        check,
        "unchecked",
        Message("doctor.config.refused", node=node, parameter=parameter, reason=config.why if config else ""),
        None,
        (Fix("shell", (f"{redis_cli(node)} config get {parameter}",)),),
    )
