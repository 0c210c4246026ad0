"""Conditions of the data in Redis: writes that are refused, saves that fail, eviction, replication."""

from __future__ import annotations

from typing import Final

from exporter.bullmq.placement import SlotMap
from exporter.conditions.finding import Finding, each_once, first_few, redis_cli, worst_first
from exporter.config.health import HealthSettings
from exporter.derived import master_link_broken, replication_lags
from exporter.redis.errors import WRITE_REFUSALS
from exporter.snapshot.redis import NodeReading, Recent, RedisState, TopologyNode
from exporter.snapshot.whole import Snapshot
from service.i18n import Message
from service.outcome import value_or_none
from service.units import duration, size

_MOMENT: Final = 30.0  # seconds for which a single refused write counts: a failover causes some
_LONG: Final = 60.0  # seconds after which refusals are no moment; a producer may try once a minute


def redis_writes_refused(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """Errors that the servers counted in the last minutes, and states in which each write is refused.

    A server that cannot save is named here only once it refused a write: whether it does is a setting that
    INFO does not show.
    """
    refusals = {address: _refusals(reading, settings) for address, reading in _readings(snapshot).items()}
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


def redis_save_failing(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """A snapshot (RDB) or the append-only file could not be written; not where writes are refused for it."""
    failing: dict[str, str | Message] = {}
    for address, reading in _readings(snapshot).items():
        failed = [f"{field} err" for field in _SAVES if _failed(reading, field)]
        if failed and "MISCONF" not in _refusals(reading, settings):
            failing[address] = f"{address}: {', '.join(failed)}"
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


def persistence_off(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """A shard with queues whose data no node of it writes to disk.

    That follows from INFO alone, which shows no schedule of saves: CONFIG GET would, and shows passwords too.
    """
    state, queues = value_or_none(snapshot.redis), value_or_none(snapshot.bullmq)
    limit = settings.thresholds.redis_unsaved_seconds
    if state is None or queues is None:
        return None
    ages: dict[str, float] = {}
    for master in state.topology.masters():
        age = _unsaved_for(state, master, snapshot.taken_at)
        if age is not None and age > limit:
            ages[master.address] = age
    slot_map = SlotMap(state.topology)
    owners = {slot_map.owner(queue.id) for queue in queues.queues} if ages else set()
    affected = worst_first({address: age for address, age in ages.items() if address in owners})
    if not affected:
        return None
    measured = [
        Message(
            "issue.persistence_off.node",
            node=address,
            changes=int(state.readings()[address].info.number("rdb_changes_since_last_save") or 0),
            since=duration(age),
        )
        for address, age, _ in affected
    ]
    return Finding(
        "redis",
        Message("issue.persistence_off.title"),
        Message("issue.text", text=first_few(measured)),
        Message("issue.persistence_off.threshold", limit=duration(limit)),
        Message(
            "issue.persistence_off.recommendation",
            command=f"{redis_cli(affected[0].subject)} config set appendonly yes",
        ),
        affected,
    )


def _unsaved_for(state: RedisState, master: TopologyNode, now: float) -> float | None:
    """Seconds since the last save of a shard's data by any of its nodes; None where one of them writes an
    append-only file, tries to save, has nothing to save, or is not known."""
    shard = [node for node in state.topology.nodes if master.address in (node.address, node.master)]
    readings = state.readings()
    master_reading = readings.get(master.address)
    replicas = master_reading.info.number("connected_slaves") if master_reading else None
    if replicas is None or replicas > len(shard) - 1:
        return None  # a single server's replicas are not read
    ages: list[float] = []
    for node in shard:
        reading = readings.get(node.address)
        if reading is None or reading.info.text("aof_enabled") != "0" or _cannot_save(reading):
            return None
        saved = reading.info.number("rdb_last_save_time")
        if saved is None or not reading.info.number("rdb_changes_since_last_save"):
            return None
        ages.append(now + (reading.clock_offset or 0.0) - saved)
    return min(ages)


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
        if not master_link_broken(reading):
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


def replication_lag_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """A replica that is far behind its master; not one without a link, whose lag is not known."""
    state = value_or_none(snapshot.redis)
    limit = settings.thresholds.replication_lag_bytes
    lags = replication_lags(state) if state else {}
    affected = worst_first({address: lag for address, (_, lag) in lags.items() if lag > limit})
    if not affected:
        return None
    measured = [
        Message("issue.replication_lag_high.node", node=address, master=lags[address][0], lag=size(lag))
        for address, lag, _ in affected
    ]
    worst = affected[0].subject
    return Finding(
        "redis",
        Message("issue.replication_lag_high.title"),
        Message("issue.text", text=first_few(measured)),
        Message("issue.text", text=size(limit)),
        Message(
            "issue.replication_lag_high.recommendation",
            node=worst,
            command=f"{redis_cli(lags[worst][0])} info replication",
        ),
        affected,
    )


def _readings(snapshot: Snapshot) -> dict[str, NodeReading]:
    state = value_or_none(snapshot.redis)
    return dict(sorted(state.readings().items())) if state else {}


def _refusals(reading: NodeReading, settings: HealthSettings) -> dict[str, int]:
    """The codes with which this server refuses writes, and how often it did in the last minutes.

    0 where its state says that it refuses each write, although nobody has tried.
    """
    codes = {
        code: recent.growth
        for code in WRITE_REFUSALS
        if (recent := reading.recent.get(code)) is not None
        and recent.ago <= _counts_for(code, recent, reading, settings)
    }
    info = reading.info
    master = info.text("role") != "slave"
    if master and _failed(reading, "aof_last_write_status"):
        codes.setdefault("MISCONF", 0)
    # The field is there only where min-replicas-to-write is set, to at least 1.
    if info.text("role") == "master" and info.number("min_slaves_good_slaves") == 0:
        codes.setdefault("NOREPLICAS", 0)
    return codes


def _counts_for(code: str, recent: Recent, reading: NodeReading, settings: HealthSettings) -> float:
    """Seconds for which refusals count after the last one: less where the server's state shows that it would
    accept a write now, and for a moment of them, as a failover causes."""
    info = reading.info
    longest = settings.thresholds.redis_recent_seconds
    match code:
        case "MISCONF" if not _cannot_save(reading):
            return -1.0
        case "NOREPLICAS" if info.number("min_slaves_good_slaves") is None:
            return -1.0
        case "READONLY" if info.text("role") == "master":
            return -1.0
        case "OOM" if info.number("maxmemory") == 0:
            return -1.0
        case "OOM" if _has_room(reading, settings):
            return min(longest, _MOMENT)  # jobs were refused, however short that was
        case _:
            return longest if recent.during >= _LONG else min(longest, _MOMENT)


def _has_room(reading: NodeReading, settings: HealthSettings) -> bool:
    used, limit = reading.info.number("used_memory"), reading.info.number("maxmemory")
    ratio = settings.thresholds.redis_memory_ratio
    return used is not None and limit is not None and used <= ratio * limit


_STOPS_WRITES: Final = ("rdb_last_bgsave_status", "aof_last_write_status")
_SAVES: Final = (*_STOPS_WRITES, "aof_last_bgrewrite_status")


def _cannot_save(reading: NodeReading) -> bool:
    return any(_failed(reading, field) for field in _STOPS_WRITES)


def _failed(reading: NodeReading, field: str) -> bool:
    """Whether a way to save failed that is in use: the last error of an append-only file stays when it is
    switched off."""
    off = field.startswith("aof_") and reading.info.text("aof_enabled") == "0"
    return reading.info.text(field) == "err" and not off


def _counted(codes: dict[str, int]) -> list[str]:
    return [f"{code} {count}" if count else code for code, count in codes.items()]
