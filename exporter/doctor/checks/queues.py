"""Checks of the queues: found at all, hash tags, a hot shard, kept jobs, event streams."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from typing import Final

from exporter.address import parse_url
from exporter.bullmq.keys import base, is_pattern
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.streams.budget import DEFAULT_LENGTH, needed_length
from exporter.conditions.finding import first_few, redis_cli
from exporter.config.watched import database_of, source_of
from exporter.doctor.checks.configuration import set_variable
from exporter.doctor.examination import EventStream, Examination, KeptJobs, RedisLook
from exporter.doctor.model import Diagnosis, Fix
from exporter.snapshot.queues import QueueId
from service.i18n import Message
from service.units import count, duration, percent, readable, size

_FEW: Final = 3  # queues of a cluster, from which on their placement says something
_HOT: Final = 0.8  # share of the queues on one shard
_HEAVY: Final = 0.25  # share of a node's memory that kept jobs may have
_MANY: Final = 100_000  # kept jobs of a queue, whatever they weigh
_KEEP_COMPLETED: Final = 1000
_KEEP_FAILED: Final = 5000


def check_queues(examination: Examination) -> Iterator[Diagnosis]:
    """Whether these settings find queues, and where there are others."""
    look = examination.look
    if look is None:
        return
    watched = examination.watched_queues
    if watched:
        others = len(look.found) - len(watched)
        found = Message("doctor.queues.good", count=len(watched))
        if others > 0:
            found = Message("doctor.queues.some", watched=len(watched), count=others)
        yield Diagnosis("queues", "good", found)
    elif look.found:
        yield _elsewhere(examination, look.found)
    elif look.searched:
        yield _none(examination, look)
    bullmq = examination.settings.bullmq
    names = {queue.name for queue in look.found}
    absent = [name for name in bullmq.queues if not is_pattern(name) and name not in names]
    if absent and watched:
        yield Diagnosis(
            "queues",
            "warning",
            Message(
                "doctor.queues.absent",
                queues=first_few(absent),
                setting=_setting(examination, "bullmq.queues"),
            ),
            Message("doctor.queues.absent_effect"),
            (set_variable("BULLMQ_QUEUES", ",".join(name for name in bullmq.queues if name not in absent)),),
        )
    if not look.searched and _search_is_refused(look):
        yield Diagnosis("queues", "unchecked", Message("doctor.queues.refused"))
    elif not look.searched:
        config = f" --config {quote(examination.loaded.file)}" if examination.loaded.file else ""
        yield Diagnosis(
            "queues",
            "warning",
            Message("doctor.queues.unfinished"),
            Message("doctor.queues.unfinished_effect"),
            (Fix("shell", (f"monitor doctor{config} --timeout 120",)),),
        )


def _search_is_refused(look: RedisLook) -> bool:
    """Whether the user lacks SCAN: no more time helps, and the check of the rights has the line that does."""
    return any("+scan" in missing.rights for each in look.missing.values() for missing in each)


def check_hash_tags(examination: Examination) -> Iterator[Diagnosis]:
    """In a cluster all keys of a queue have to be in one slot."""
    look = examination.look
    if look is None or look.state.topology.mode != "cluster":
        return
    untagged = look.untagged
    if not untagged:
        yield Diagnosis("hash-tags", "good", Message("doctor.hash_tags.good"))
        return
    labels = [_label(queue) for queue in untagged]
    first = untagged[0]
    cli = redis_cli(min(look.masters))
    yield Diagnosis(
        "hash-tags",
        "wrong",
        Message("doctor.hash_tags.seen", queues=first_few(labels), count=len(untagged)),
        Message("doctor.hash_tags.effect"),
        (
            Fix("application", (_queue_line(QueueId(first.prefix, f"{{{first.name}}}")),)),
            Fix("shell", tuple(f"{cli} -c del {quote(base(queue) + 'meta')}" for queue in untagged)),
        ),
    )


def check_hot_shard(examination: Examination) -> Iterator[Diagnosis]:
    """Most queues on one shard of several: it does all the work."""
    look = examination.look
    if look is None or look.state.topology.mode != "cluster":
        return
    slots = SlotMap(look.state.topology)
    owners = Counter(owner for queue in look.queues if (owner := slots.owner(queue)) is not None)
    total = sum(owners.values())
    if len(slots.masters) < 2 or total < _FEW:
        yield Diagnosis("hot-shard", "good", Message("doctor.hot_shard.few", count=total))
        return
    address, held = owners.most_common(1)[0]
    if held / total < _HOT:
        yield Diagnosis(
            "hot-shard", "good", Message("doctor.hot_shard.good", share=percent(held / total), node=address)
        )
        return
    of_prefix = next((queue for queue in look.queues if "{" in queue.prefix), None)
    name = (of_prefix or look.queues[0]).name.strip("{}")
    prefix = of_prefix.prefix.strip("{}") if of_prefix else look.queues[0].prefix
    line = _queue_line(QueueId(prefix, f"{{{name}}}"))
    yield Diagnosis(
        "hot-shard",
        "warning",
        Message("doctor.hot_shard.seen", held=held, total=total, node=address, shards=len(slots.masters)),
        Message("doctor.hot_shard.effect"),
        (Fix("application", (line,)),),
    )


def check_kept_jobs(examination: Examination) -> Iterator[Diagnosis]:
    """Completed and failed jobs that are kept, and what they weigh, by a sample."""
    look = examination.look
    if look is None or not look.queues:
        return
    if not look.kept:
        yield Diagnosis("kept-jobs", "unchecked", Message("doctor.kept_jobs.unread"))
        return
    slots = SlotMap(look.state.topology)
    heavy: list[tuple[QueueId, float, float | None]] = []
    for queue, kept in look.kept.items():
        memory = _memory(look, slots.owner(queue))
        weight = None if kept.job_bytes is None else kept.job_bytes * kept.count
        share = weight / memory if weight is not None and memory else 0.0
        if share >= _HEAVY or kept.count >= _MANY:
            heavy.append((queue, share, weight))
    total = sum(kept.count for kept in look.kept.values())
    sampled = [kept for kept in look.kept.values() if kept.job_bytes is not None]
    if not heavy and total and not sampled:
        yield Diagnosis("kept-jobs", "unchecked", Message("doctor.kept_jobs.unweighed", jobs=count(total)))
    elif not heavy:
        yield Diagnosis("kept-jobs", "good", Message("doctor.kept_jobs.good", jobs=count(total)))
    for queue, share, weight in sorted(heavy, key=lambda item: -item[1])[:3]:
        kept = look.kept[queue]
        yield Diagnosis(
            "kept-jobs",
            "warning",
            Message(
                "doctor.kept_jobs.seen",
                queue=_label(queue),
                completed=count(kept.completed),
                failed=count(kept.failed),
                weight=size(weight) or "?",
                share=percent(share),
            ),
            Message("doctor.kept_jobs.effect"),
            (Fix("application", _cleaning(queue, kept)),),
        )


def check_event_streams(examination: Examination) -> Iterator[Diagnosis]:
    """Streams that are trimmed before they are read, by the rate that fills them."""
    look = examination.look
    if look is None:
        return
    if not examination.settings.bullmq.events:
        setting = source_of(examination.loaded, "bullmq.events") or "bullmq.events"
        yield Diagnosis("event-streams", "unchecked", Message("doctor.event_streams.off", setting=setting))
        return
    if not look.streams:
        if look.queues:
            yield Diagnosis("event-streams", "unchecked", Message("doctor.event_streams.none"))
        return
    short = []
    for queue, stream in look.streams.items():
        kept = _kept(stream)
        if stream.length < kept or stream.seconds is None:
            continue  # nothing was trimmed yet, or it is not known over which time
        rate = stream.length / max(stream.seconds, 0.001)
        if needed_length(rate) > kept:
            short.append((queue, kept, rate, stream.seconds))
    for queue, kept, rate, seconds in sorted(short, key=lambda item: item[3])[:3]:
        needed = needed_length(rate)
        yield Diagnosis(
            "event-streams",
            "warning",
            Message(
                "doctor.event_streams.seen",
                queue=_label(queue),
                kept=count(kept),
                rate=count(rate),
                seconds=duration(seconds) if seconds >= 1 else f"{seconds * 1000:.0f} ms",
            ),
            Message("doctor.event_streams.effect"),
            (Fix("application", (_queue_line(queue, {"streams": {"events": {"maxLen": needed}}}),)),),
        )
    full = [stream for stream in look.streams.values() if stream.length >= _kept(stream)]
    if full and all(stream.seconds is None for stream in full):
        unread = Message("doctor.event_streams.unread", count=len(full))
        yield Diagnosis("event-streams", "unchecked", unread)
    elif not short:
        yield Diagnosis(
            "event-streams", "good", Message("doctor.event_streams.good", count=len(look.streams))
        )


# --- no queue --------------------------------------------------------------------------------------------


def _elsewhere(examination: Examination, queues: Sequence[QueueId]) -> Diagnosis:
    """There are queues, and these settings exclude all of them."""
    prefixes = sorted({queue.prefix for queue in queues})
    wanted = examination.settings.bullmq.prefixes
    if wanted and not set(prefixes) & set(wanted):
        return Diagnosis(
            "queues",
            "wrong",
            Message(
                "doctor.queues.other_prefix",
                prefixes=", ".join(wanted),
                setting=_setting(examination, "bullmq.prefixes"),
                found=", ".join(map(readable, prefixes)),
                count=len(queues),
            ),
            Message("doctor.queues.none_effect"),
            (set_variable("BULLMQ_PREFIXES", ",".join(prefixes)),),
        )
    return Diagnosis(
        "queues",
        "wrong",
        Message(
            "doctor.queues.other_name",
            setting=_setting(examination, "bullmq.queues"),
            found=first_few([_label(queue) for queue in queues]),
        ),
        Message("doctor.queues.none_effect"),
        (set_variable("BULLMQ_QUEUES", "*"),),
    )


def _none(examination: Examination, look: RedisLook) -> Diagnosis:
    database = f"db{database_of(examination.settings.redis)}"
    keys = {
        name: space.keys
        for reading in look.masters.values()
        for name, space in reading.keyspace.items()
        if space.keys and name != database
    }
    seen = Message("doctor.queues.none", database=database)
    fixes: tuple[Fix, ...] = ()
    if keys:
        named = ", ".join(f"{name} ({count(number)})" for name, number in sorted(keys.items()))
        seen = Message("doctor.queues.other_database", database=database, others=named)
        number = max(keys, key=keys.__getitem__).removeprefix("db")
        fixes = _other_database(examination, number)
    return Diagnosis("queues", "warning", seen, Message("doctor.queues.none_effect"), fixes)


def _other_database(examination: Examination, number: str) -> tuple[Fix, ...]:
    """A database in the URL counts before REDIS_DB. The URL is a secret: the line changes it unseen."""
    url = examination.settings.redis.url
    text = url.get_secret_value() if url else ""
    if not text or parse_url(text).database is None:
        return (set_variable("REDIS_DB", number),)
    if "?" in text or "REDIS_URL" not in examination.variables:
        return ()
    return (Fix("environment", (f'export REDIS_URL="${{REDIS_URL%/*}}/{number}"',)),)


# --- texts -----------------------------------------------------------------------------------------------


def _setting(examination: Examination, path: str) -> str:
    return source_of(examination.loaded, path) or path


def _label(queue: QueueId) -> str:
    return readable(f"{queue.prefix}:{queue.name}")


def _memory(look: RedisLook, address: str | None) -> float | None:
    """The memory that a node may use: its limit, else that of its host."""
    reading = look.state.readings().get(address or "")
    if reading is None:
        return None
    return reading.info.number("maxmemory") or reading.info.number("total_system_memory")


def _queue_line(queue: QueueId, options: Mapping[str, object] | None = None) -> str:
    """The JavaScript of a queue with these options; `connection` is the application's."""
    inner = "".join(f", {name}: {json.dumps(value)}" for name, value in (options or {}).items())
    return f"new Queue({json.dumps(queue.name)}, {{ connection, prefix: {json.dumps(queue.prefix)}{inner} }})"


def _kept(stream: EventStream) -> int:
    return DEFAULT_LENGTH if stream.max_length is None else stream.max_length


def _cleaning(queue: QueueId, kept: KeptJobs) -> tuple[str, ...]:
    """Remove the oldest of today, which `clean` does in steps, and keep fewer from then on: the other way
    round the next job that ends removes all of them in one script, and Redis answers nobody meanwhile."""
    counts = {"completed": kept.completed - _KEEP_COMPLETED, "failed": kept.failed - _KEEP_FAILED}
    options = {"removeOnComplete": {"count": _KEEP_COMPLETED}, "removeOnFail": {"count": _KEEP_FAILED}}
    return (
        f"const queue = {_queue_line(queue)};",
        *(f'await queue.clean(0, {number}, "{state}");' for state, number in counts.items() if number > 0),
        "// then, where jobs are added:",
        f"const producer = {_queue_line(queue, {'defaultJobOptions': options})};",
    )
