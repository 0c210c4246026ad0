"""Conditions of the data in Redis: writes that are refused, saves that fail, eviction, replication."""

from __future__ import annotations

from exporter.conditions.finding import Finding, each_once, first_few, redis_cli, worst_first
from exporter.config.settings import HealthSettings
from exporter.derived import master_link_up
from exporter.redis.errors import WRITE_REFUSALS
from exporter.snapshot import NodeReading, Snapshot
from service.i18n import Message
from service.outcome import value_or_none
from service.units import duration, size


def redis_writes_refused(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """Errors that the servers counted in the last minutes, and states in which each write is refused.

    A server that cannot save is named here only once it refused a write: whether it does is a setting that
    INFO does not show.
    """
    refusals = {address: _refusals(reading) for address, reading in _readings(snapshot).items()}
    refusing = {address: codes for address, codes in refusals.items() if codes}
    if not refusing:
        return None
    measured = [
        Message("issue.redis_writes_refused.node", node=address, codes=", ".join(_counted(codes)))
        for address, codes in refusing.items()
    ]
    code = next(code for code in WRITE_REFUSALS if any(code in codes for codes in refusing.values()))
    address = next(address for address, codes in refusing.items() if code in codes)
    return Finding(
        "redis",
        Message("issue.redis_writes_refused.title"),
        Message("issue.text", text=first_few(measured)),
        Message("issue.redis_writes_refused.threshold"),
        _make_writable(code, address),
        worst_first({node: float(sum(codes.values())) for node, codes in refusing.items()}),
    )


def _make_writable(code: str, node: str) -> Message:
    """What to do about a node that refuses writes with this code."""
    cli = redis_cli(node)
    if code == "MISCONF":
        command = f"{cli} info persistence"
        return Message("issue.redis_writes_refused.recommendation_misconf", node=node, command=command)
    if code == "OOM":
        command = f"{cli} info memory"
        return Message("issue.redis_writes_refused.recommendation_oom", node=node, command=command)
    if code == "NOREPLICAS":
        command = f"{cli} info replication"
        return Message("issue.redis_writes_refused.recommendation_noreplicas", node=node, command=command)
    command = f"{cli} client list"
    return Message("issue.redis_writes_refused.recommendation_readonly", node=node, command=command)


def redis_save_failing(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """A snapshot (RDB) or the append-only file could not be written; not where writes are refused for it."""
    failing: dict[str, str | Message] = {}
    for address, reading in _readings(snapshot).items():
        if "MISCONF" not in _refusals(reading) and _cannot_save(reading):
            failing[address] = f"{address}: rdb_last_bgsave_status err"
    if not failing:
        return None
    return Finding(
        "redis",
        Message("issue.redis_save_failing.title"),
        Message("issue.text", text=first_few(list(failing.values()))),
        Message("issue.redis_save_failing.threshold"),
        Message(
            "issue.redis_save_failing.recommendation",
            node=next(iter(failing)),
            command=f"{redis_cli(next(iter(failing)))} info persistence",
        ),
        each_once(list(failing)),
    )


def redis_evicts_keys(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """A memory limit with a policy that removes keys, on a deployment with queues: jobs would be lost."""
    queues = value_or_none(snapshot.bullmq)
    if queues is None or not (queues.queues or queues.unread):
        return None
    evicting: dict[str, str | Message] = {}
    for address, reading in _readings(snapshot).items():
        policy, limit = reading.info.text("maxmemory_policy"), reading.info.number("maxmemory")
        if policy in (None, "noeviction") or not limit:
            continue
        evicted = reading.info.number("evicted_keys") or 0
        evicting[address] = Message(
            "issue.redis_evicts_keys.node",
            node=address,
            policy=str(policy),
            size=size(limit),
            count=int(evicted),
        )
    if not evicting:
        return None
    return Finding(
        "redis",
        Message("issue.redis_evicts_keys.title"),
        Message("issue.text", text=first_few(list(evicting.values()))),
        Message("issue.text", text="maxmemory-policy noeviction"),
        Message(
            "issue.redis_evicts_keys.recommendation",
            command=f"{redis_cli(next(iter(evicting)))} config set maxmemory-policy noeviction",
        ),
        each_once(list(evicting)),
    )


def replication_broken(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """A replica without a link to its master; one that receives its first copy is not broken."""
    broken: dict[str, str | Message] = {}
    for address, reading in _readings(snapshot).items():
        if master_link_up(reading) is not False or reading.info.number("master_sync_in_progress"):
            continue
        seconds = reading.info.number("master_link_down_since_seconds")
        master = f"{reading.info.text('master_host')}:{reading.info.text('master_port')}"
        if seconds is None or seconds < 0:
            broken[address] = Message("issue.replication_broken.node", node=address, master=master)
        else:
            broken[address] = Message(
                "issue.replication_broken.node_since", node=address, master=master, since=duration(seconds)
            )
    if not broken:
        return None
    return Finding(
        "redis",
        Message("issue.replication_broken.title"),
        Message("issue.text", text=first_few(list(broken.values()))),
        Message("issue.replication_broken.threshold"),
        Message(
            "issue.replication_broken.recommendation",
            node=next(iter(broken)),
            command=f"{redis_cli(next(iter(broken)))} info replication",
        ),
        each_once(list(broken)),
    )


def _readings(snapshot: Snapshot) -> dict[str, NodeReading]:
    state = value_or_none(snapshot.redis)
    return dict(sorted(state.readings().items())) if state else {}


def _refusals(reading: NodeReading) -> dict[str, int]:
    """The codes with which this server refuses writes, and how often it did in the last minutes.

    0 where its state says that it refuses each write, although nobody has tried.
    """
    codes = {code: reading.recent_errors[code] for code in WRITE_REFUSALS if code in reading.recent_errors}
    if not _cannot_save(reading):
        codes.pop("MISCONF", None)  # it did, and has recovered
    info = reading.info
    if info.text("aof_last_write_status") == "err":
        codes.setdefault("MISCONF", 0)
    # The field is there only where min-replicas-to-write is set, to at least 1.
    if info.text("role") == "master" and info.number("min_slaves_good_slaves") == 0:
        codes.setdefault("NOREPLICAS", 0)
    return codes


def _cannot_save(reading: NodeReading) -> bool:
    fields = ("rdb_last_bgsave_status", "aof_last_write_status")
    return any(reading.info.text(field) == "err" for field in fields)


def _counted(codes: dict[str, int]) -> list[str]:
    return [f"{code} {count}" if count else code for code, count in codes.items()]
