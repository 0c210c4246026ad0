"""Reads Redis once for the doctor: the nodes, their configuration, the rights, queues of any prefix.

Nothing is written, each request ends at the deadline, and what is asked of queues is bounded in number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from exporter.bullmq.discover import Discovery
from exporter.bullmq.keys import base, is_tagged
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.queue_commands import QueueCommands
from exporter.bullmq.search.ask import ask_owners
from exporter.bullmq.search.known import KnownQueues
from exporter.bullmq.search.own import MARKS, marked_by_bullmq
from exporter.config.settings import ExporterSettings
from exporter.config.watched import user_of
from exporter.doctor.examination import EventStream, KeptJobs, RedisLook, ServerConfig
from exporter.doctor.rights import MissingRight, Need, RedisRight, missing_right, needed_rights
from exporter.redis.collect import collect_redis
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply, ReplyError, Request, pack_request
from exporter.snapshot.queues import QueueId
from exporter.snapshot.redis import RedisState
from service.clock import Deadline
from service.outcome import Failed, Ok, UnreadableError

_POOL: Final = "doctor"
_PARAMETERS: Final = ("save", "client-output-buffer-limit")
_COLLECT_SHARE: Final = 0.3  # of the time, for the nodes
_SEARCH_SHARE: Final = 0.75  # of what is left then, for the search of queues
_MOST_QUEUES: Final = 500  # that are read
_MOST_PREFIXES: Final = 10  # whose rights are looked at
_SAMPLED_QUEUES: Final = 5  # whose kept jobs are weighed
_SAMPLED_JOBS: Final = 5  # of a queue and a state
_SAMPLES: Final = 64  # of MEMORY USAGE: more than a job has fields, or its data may be left out
_SAMPLED_STREAMS: Final = 20
_LARGEST_ENTRY: Final = 16 << 10  # bytes of a stream's mean entry, above which its ends are not read
_DEFAULT_QUEUE: Final = QueueId("bull", "oxherd-doctor")


def read_redis(settings: ExporterSettings, deadline: Deadline) -> RedisLook:
    """What there is. Never raises for errors of Redis, which are in the state."""
    deployment = Deployment(settings.redis)
    try:
        return _read(deployment, settings, deadline)
    finally:
        deployment.close()


def _read(deployment: Deployment, settings: ExporterSettings, deadline: Deadline) -> RedisLook:
    state = collect_redis(deployment, deadline.at_most(deadline.remaining() * _COLLECT_SHARE))
    user = user_of(settings.redis)
    if not state.reachable:
        return RedisLook(state, user)
    configs = _configs(deployment, state, deadline)
    known = _search(deployment, settings, deadline)
    kept, streams = _read_queues(deployment, state, known.queues, deadline)
    return RedisLook(
        state=state,
        user=user,
        configs=configs,
        missing=_missing(deployment, settings, state, known, deadline),
        queues=known.queues,
        refused=_refused(known),
        untagged=_untagged(deployment, state, known, deadline),
        searched=known.complete,
        kept=kept,
        streams=streams,
    )


# --- the servers -----------------------------------------------------------------------------------------


def _configs(deployment: Deployment, state: RedisState, deadline: Deadline) -> dict[str, ServerConfig]:
    request = pack_request([("CONFIG", "GET", parameter) for parameter in _PARAMETERS])
    outcomes = deployment.execute(dict.fromkeys(state.readings(), request), deadline, pool=_POOL)
    return {
        address: _config(outcome.value) if isinstance(outcome, Ok) else ServerConfig({}, outcome.message)
        for address, outcome in outcomes.items()
    }


def _config(replies: Sequence[Reply]) -> ServerConfig:
    values = {}
    for reply in replies:
        match reply:
            case [bytes(name), bytes(value)]:
                values[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    refused = next((str(reply) for reply in replies if isinstance(reply, ReplyError)), "")
    return ServerConfig(values, refused)


def _missing(
    deployment: Deployment,
    settings: ExporterSettings,
    state: RedisState,
    known: KnownQueues,
    deadline: Deadline,
) -> dict[str, tuple[MissingRight, ...]]:
    """What each node refuses: by ACL DRYRUN where the user may ask for it, else by trying each command on a
    key that does not exist."""
    queues = _one_of_each_prefix(settings, known)
    rights = needed_rights(_needs(deployment, settings, state, known))
    cases = [(right, queue) for queue in queues for right in rights]
    commands = [right.command(queue, deployment.database) for right, queue in cases]
    dry = pack_request([("ACL", "DRYRUN", user_of(settings.redis), *command) for command in commands])
    tried = pack_request(
        [
            ("PING",) if right.subscribes else command
            for (right, _), command in zip(cases, commands, strict=True)
        ]
    )
    outcomes = deployment.execute(dict.fromkeys(state.readings(), dry), deadline, pool=_POOL)
    unable = [address for address, out in outcomes.items() if isinstance(out, Ok) and _is_unable(out.value)]
    outcomes |= deployment.execute(dict.fromkeys(unable, tried), deadline, pool=_POOL)
    missing = {
        address: _refusals(cases, outcome.value)
        for address, outcome in outcomes.items()
        if isinstance(outcome, Ok)
    }
    for address in unable:
        subscribing = [case for case in cases if case[0].subscribes]
        missing[address] = (
            *missing.get(address, ()),
            *_refusals(subscribing, _subscribe(deployment, address, subscribing, deadline)),
        )
    return {address: tuple(dict.fromkeys(parts)) for address, parts in missing.items()}


def _is_unable(replies: Sequence[Reply]) -> bool:
    return any(isinstance(reply, ReplyError) for reply in replies[:1])


def _refusals(
    cases: Sequence[tuple[RedisRight, QueueId]], replies: Sequence[Reply]
) -> tuple[MissingRight, ...]:
    found = [
        missing_right(right, reply, queue.prefix)
        for (right, queue), reply in zip(cases, replies, strict=False)
    ]
    return tuple(part for part in found if part is not None)


def _subscribe(
    deployment: Deployment, address: str, cases: Sequence[tuple[RedisRight, QueueId]], deadline: Deadline
) -> list[Reply]:
    """On a connection of its own, which then is closed."""
    if not cases:
        return []
    request = pack_request([right.command(queue, 0) for right, queue in cases])
    try:
        connection = deployment.connect(address, deadline)
        try:
            return connection.exchange(request, deadline)
        finally:
            connection.close()
    except UnreadableError:
        return []


def _needs(
    deployment: Deployment, settings: ExporterSettings, state: RedisState, known: KnownQueues
) -> Iterable[Need]:
    if state.topology.mode == "cluster":
        yield "cluster"
    if deployment.database:
        yield "database"
    if settings.bullmq.scan:
        yield "scan"
    if settings.bullmq.events:
        yield "events"
        if known.made_by("bull"):
            yield "bull"


def _one_of_each_prefix(settings: ExporterSettings, known: KnownQueues) -> list[QueueId]:
    """A queue for each prefix: an ACL may allow some of them. Those that are watched, if there are any; a
    prefix without a queue needs no right, unless there is no queue at all."""
    found = {queue.prefix: queue for queue in (*known.queues, *_refused(known))}
    wanted = [prefix for prefix in settings.bullmq.prefixes if prefix in found]
    prefixes = wanted or list(found) or settings.bullmq.prefixes or [_DEFAULT_QUEUE.prefix]
    queues = [found.get(prefix, QueueId(prefix, _DEFAULT_QUEUE.name)) for prefix in prefixes]
    return queues[:_MOST_PREFIXES]


def _refused(known: KnownQueues) -> tuple[QueueId, ...]:
    unread = (queue for queue, failed in known.unread.items() if failed.kind == "refused")
    return tuple(sorted({*known.search.refused, *unread}))


# --- the queues ------------------------------------------------------------------------------------------


def _search(deployment: Deployment, settings: ExporterSettings, deadline: Deadline) -> KnownQueues:
    """Queues under any prefix, unless the settings exclude a search."""
    bullmq = settings.bullmq
    if bullmq.scan:
        bullmq = bullmq.model_copy(update={"prefixes": (), "queues": ()})
    discovery = Discovery(deployment, bullmq)
    with suppress(UnreadableError):  # the nodes' own failures say why
        discovery.discover_once(deadline.at_most(deadline.remaining() * _SEARCH_SHARE))
    return discovery.known()


def _untagged(
    deployment: Deployment, state: RedisState, known: KnownQueues, deadline: Deadline
) -> tuple[QueueId, ...]:
    """Candidates without a hash tag that have the `meta` key of BullMQ: names of clients are candidates too.

    Each master is asked, as only the one that has the key answers.
    """
    candidates = [queue for queue in known.search.passed_over if not is_tagged(queue)]
    if state.topology.mode != "cluster" or not candidates:
        return ()
    marks = QueueCommands(MARKS)
    parts = [marks.request(queue) for queue in candidates]
    request = Request(b"".join(part.packed for part in parts), len(parts))
    masters = [node.address for node in state.topology.masters()]
    outcomes = deployment.execute(dict.fromkeys(masters, request), deadline, pool=_POOL)
    found = {
        queue
        for outcome in outcomes.values()
        if isinstance(outcome, Ok)
        for queue, reply in zip(candidates, outcome.value, strict=True)
        if marked_by_bullmq(reply)
    }
    return tuple(sorted(found))


def _read_queues(
    deployment: Deployment, state: RedisState, queues: Sequence[QueueId], deadline: Deadline
) -> tuple[dict[QueueId, KeptJobs], dict[QueueId, EventStream]]:
    slots = SlotMap(state.topology)
    counted = ask_owners(
        deployment, slots, deadline, {queue: _counting(queue) for queue in queues[:_MOST_QUEUES]}, pool=_POOL
    )
    kept: dict[QueueId, KeptJobs] = {}
    streams: dict[QueueId, EventStream] = {}
    small: list[QueueId] = []
    for queue, replies in counted.items():
        match replies:
            case [int(completed), int(failed), length, memory, [limit, *_]]:
                kept[queue] = KeptJobs(completed, failed)
                if isinstance(length, int) and length:
                    streams[queue] = EventStream(length, _number(limit))
                    if isinstance(memory, int) and memory / length <= _LARGEST_ENTRY:
                        small.append(queue)
    weights = _weigh(deployment, slots, kept, deadline)
    spans = _spans(deployment, slots, _fullest(small, streams), deadline)
    for queue, weight in weights.items():
        kept[queue] = KeptJobs(kept[queue].completed, kept[queue].failed, weight)
    for queue, seconds in spans.items():
        streams[queue] = EventStream(streams[queue].length, streams[queue].max_length, seconds)
    return kept, streams


def _counting(queue: QueueId) -> list[tuple[str, ...]]:
    key = base(queue)
    return [
        ("ZCARD", f"{key}completed"),
        ("ZCARD", f"{key}failed"),
        ("XLEN", f"{key}events"),
        ("MEMORY", "USAGE", f"{key}events"),
        ("HMGET", f"{key}meta", "opts.maxLenEvents"),
    ]


def _number(reply: Reply) -> int | None:
    return int(reply) if isinstance(reply, bytes) and reply.isdigit() and len(reply) <= 15 else None


def _fullest(queues: Iterable[QueueId], streams: Mapping[QueueId, EventStream]) -> list[QueueId]:
    return sorted(queues, key=lambda queue: -streams[queue].length)[:_SAMPLED_STREAMS]


def _weigh(
    deployment: Deployment, slots: SlotMap, kept: Mapping[QueueId, KeptJobs], deadline: Deadline
) -> dict[QueueId, float]:
    """The mean bytes of the newest kept jobs of the queues that keep most."""
    most = sorted(kept, key=lambda queue: -kept[queue].count)[:_SAMPLED_QUEUES]
    last = str(-_SAMPLED_JOBS)
    newest = ask_owners(
        deployment,
        slots,
        deadline,
        {
            queue: [("ZRANGE", f"{base(queue)}{state}", last, "-1") for state in ("completed", "failed")]
            for queue in most
        },
        pool=_POOL,
    )
    jobs = {queue: list(_job_ids(replies)) for queue, replies in newest.items()}
    weighed = ask_owners(
        deployment,
        slots,
        deadline,
        {
            queue: [
                ("MEMORY", "USAGE", base(queue).encode("utf-8", "surrogateescape") + job, "SAMPLES", _SAMPLES)
                for job in ids
            ]
            for queue, ids in jobs.items()
            if ids
        },
        pool=_POOL,
    )
    weights = {}
    for queue, replies in weighed.items():
        sizes = [] if isinstance(replies, Failed) else [size for size in replies if isinstance(size, int)]
        if sizes:
            weights[queue] = sum(sizes) / len(sizes)
    return weights


def _job_ids(replies: list[Reply] | Failed) -> Iterable[bytes]:
    for reply in [] if isinstance(replies, Failed) else replies:
        if isinstance(reply, list):
            yield from (job for job in reply if isinstance(job, bytes))


def _spans(
    deployment: Deployment, slots: SlotMap, queues: Sequence[QueueId], deadline: Deadline
) -> dict[QueueId, float]:
    """The seconds between the first and the last entry of each stream."""
    answers = ask_owners(
        deployment,
        slots,
        deadline,
        {queue: [("XINFO", "STREAM", f"{base(queue)}events")] for queue in queues},
        pool=_POOL,
    )
    spans = {}
    for queue, replies in answers.items():
        match replies:
            case [[*fields]]:
                named = zip(fields[::2], fields[1::2], strict=False)
                pairs = {name: value for name, value in named if isinstance(name, bytes)}
                first, last = _milliseconds(pairs, b"first-entry"), _milliseconds(pairs, b"last-entry")
                if first is not None and last is not None:
                    spans[queue] = (last - first) / 1000
    return spans


def _milliseconds(fields: Mapping[Any, Reply], name: bytes) -> int | None:
    match fields.get(name):
        case [bytes(entry), *_]:
            return _number(entry.partition(b"-")[0])
    return None
