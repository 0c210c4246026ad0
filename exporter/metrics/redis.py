"""Series of each Redis node. Names and meanings are those of redis_exporter, plus the label `node`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

from exporter.assessment import Assessment
from exporter.metrics.family import Family, MetricKind, Sample
from exporter.snapshot.redis import Info, NodeReading, RedisState
from service.outcome import Ok, value_or_none

NodeReader: TypeAlias = Callable[[NodeReading], Iterable[Sample]]
"""One node's samples, without the label `node`."""

_MASTER: Final = ("master_host", "master_port")
_IDENTITY: Final = (
    "role",
    "redis_version",
    "valkey_version",
    "redis_mode",
    "os",
    "maxmemory_policy",
    "tcp_port",
    "run_id",
)


def redis_state(assessment: Assessment) -> RedisState | None:
    """The deployment, if it could be read."""
    return value_or_none(assessment.snapshot.redis)


def per_node(name: str, kind: MetricKind, text: str, labels: tuple[str, ...], read: NodeReader) -> Family:
    """A family with the samples of `read` for every node that answered."""

    def samples(assessment: Assessment) -> Iterator[Sample]:
        state = redis_state(assessment)
        for node, reading in state.readings().items() if state else ():
            for values, number in read(reading):
                yield (node, *values), number

    return Family(name, kind, text, ("node", *labels), samples)


def field_sample(info: Info | None, field: str) -> Iterator[Sample]:
    """The field as one sample; none if it is absent, not a number, or the -1 that INFO writes for "never"."""
    number = info.number(field) if info else None
    if number is not None and number >= 0:
        yield (), number


def state_of(info: Info | None, field: str, good: str) -> Iterator[Sample]:
    """1 if the field has the value `good`, 0 for any other value; no sample if it is absent."""
    value = info.text(field) if info else None
    if value is not None:
        yield (), float(value == good)


def _up(assessment: Assessment) -> Iterator[Sample]:
    state = redis_state(assessment)
    for node, outcome in state.nodes.items() if state else ():
        yield (node,), float(isinstance(outcome, Ok))


def _gauge(name: str, field: str, text: str) -> Family:
    return per_node(name, "gauge", text, (), lambda reading: field_sample(reading.info, field))


def _counter(name: str, field: str, text: str) -> Family:
    return per_node(name, "counter", text, (), lambda reading: field_sample(reading.info, field))


def _with_master_labels(reading: NodeReading, samples: Iterable[Sample]) -> Iterator[Sample]:
    """A replica's samples, labelled with the master that it reports; no samples for a master."""
    host, port = reading.info.text("master_host"), reading.info.text("master_port")
    if host is not None and port is not None:
        for _, number in samples:
            yield (host, port), number


def _replica_gauge(name: str, field: str, text: str) -> Family:
    return per_node(
        name,
        "gauge",
        text,
        _MASTER,
        lambda reading: _with_master_labels(reading, field_sample(reading.info, field)),
    )


def _instance_info(reading: NodeReading) -> Iterator[Sample]:
    if reading.info.fields:
        yield tuple(reading.info.text(label) or _server_mode(reading.info, label) for label in _IDENTITY), 1.0


def _server_mode(info: Info, label: str) -> str:
    return (info.text("server_mode") or "") if label == "redis_mode" else ""


FAMILIES: Final[tuple[Family, ...]] = (
    Family(
        "redis_up",
        "gauge",
        "1 if the node answered in this collection, else 0; one series for every known node.",
        ("node",),
        _up,
    ),
    per_node(
        "redis_instance_info",
        "gauge",
        "Always 1, with labels from INFO: role master or slave, versions, mode, eviction policy.",
        _IDENTITY,
        _instance_info,
    ),
    _gauge("redis_uptime_in_seconds", "uptime_in_seconds", "Seconds since the server started (INFO)."),
    _gauge(
        "redis_connected_clients",
        "connected_clients",
        "Client connections, without those of replicas (INFO).",
    ),
    _gauge(
        "redis_blocked_clients",
        "blocked_clients",
        "Clients that wait in a blocking command, such as workers (INFO).",
    ),
    per_node(
        "redis_config_maxclients",
        "gauge",
        "Client connections allowed (INFO).",
        (),
        lambda reading: [] if reading.maxclients is None else [((), float(reading.maxclients))],
    ),
    _gauge("redis_memory_used_bytes", "used_memory", "Bytes allocated by the server (INFO used_memory)."),
    _gauge("redis_memory_max_bytes", "maxmemory", "Bytes that maxmemory allows, 0 for no limit (INFO)."),
    _gauge(
        "redis_memory_used_rss_bytes", "used_memory_rss", "Resident bytes as the system reports them (INFO)."
    ),
    _gauge(
        "redis_memory_used_peak_bytes",
        "used_memory_peak",
        "Most bytes ever allocated since the start (INFO).",
    ),
    _gauge(
        "redis_total_system_memory_bytes", "total_system_memory", "Bytes of memory of the node's host (INFO)."
    ),
    _gauge(
        "redis_mem_fragmentation_ratio",
        "mem_fragmentation_ratio",
        "Resident memory / allocated memory; above 1 is fragmentation, below 1 is swap (INFO).",
    ),
    _counter("redis_commands_processed_total", "total_commands_processed", "Commands processed (INFO)."),
    per_node(
        "redis_commands_total",
        "counter",
        "Calls of each command (INFO commandstats).",
        ("cmd",),
        lambda reading: (((cmd,), float(stat.calls)) for cmd, stat in reading.commands.items()),
    ),
    per_node(
        "redis_commands_duration_seconds_total",
        "counter",
        "Seconds spent executing each command (INFO commandstats).",
        ("cmd",),
        lambda reading: (((cmd,), stat.seconds) for cmd, stat in reading.commands.items()),
    ),
    _counter("redis_keyspace_hits_total", "keyspace_hits", "Key lookups that found the key (INFO)."),
    _counter("redis_keyspace_misses_total", "keyspace_misses", "Key lookups that found no key (INFO)."),
    _counter("redis_net_input_bytes_total", "total_net_input_bytes", "Bytes received (INFO)."),
    _counter("redis_net_output_bytes_total", "total_net_output_bytes", "Bytes sent (INFO)."),
    per_node(
        "redis_db_keys",
        "gauge",
        "Keys in the database (INFO keyspace).",
        ("db",),
        lambda reading: (((db,), float(row.keys)) for db, row in reading.keyspace.items()),
    ),
    per_node(
        "redis_db_keys_expiring",
        "gauge",
        "Keys in the database that have a time to live (INFO keyspace).",
        ("db",),
        lambda reading: (((db,), float(row.expiring)) for db, row in reading.keyspace.items()),
    ),
    _counter(
        "redis_expired_keys_total", "expired_keys", "Keys removed because their time to live ended (INFO)."
    ),
    _counter(
        "redis_evicted_keys_total", "evicted_keys", "Keys removed because maxmemory was reached (INFO)."
    ),
    _counter(
        "redis_rejected_connections_total",
        "rejected_connections",
        "Connections refused because maxclients was reached (INFO).",
    ),
    _gauge("redis_connected_slaves", "connected_slaves", "Replicas connected to the node (INFO)."),
    per_node(
        "redis_master_link_up",
        "gauge",
        "1 if the replica's link to its master is up, else 0; replicas only (INFO).",
        _MASTER,
        lambda reading: _with_master_labels(reading, state_of(reading.info, "master_link_status", "up")),
    ),
    _replica_gauge(
        "redis_master_last_io_seconds_ago",
        "master_last_io_seconds_ago",
        "Seconds since the replica last received data from its master; absent while the link is down (INFO).",
    ),
    _gauge(
        "redis_master_repl_offset",
        "master_repl_offset",
        "Bytes of the replication stream produced so far (INFO).",
    ),
    _replica_gauge(
        "redis_slave_repl_offset",
        "slave_repl_offset",
        "Bytes of the replication stream that the replica has received (INFO).",
    ),
    _gauge(
        "redis_rdb_last_save_timestamp_seconds",
        "rdb_last_save_time",
        "Unix time of the last successful RDB save, or of the server start before the first save (INFO).",
    ),
    per_node(
        "redis_rdb_last_bgsave_status",
        "gauge",
        "1 if the last RDB save succeeded, 0 if it failed: by default Redis then refuses writes (INFO).",
        (),
        lambda reading: state_of(reading.info, "rdb_last_bgsave_status", "ok"),
    ),
    per_node(
        "redis_aof_last_write_status",
        "gauge",
        "1 if the last write to the append-only file succeeded, 0 if it failed (INFO).",
        (),
        lambda reading: state_of(reading.info, "aof_last_write_status", "ok"),
    ),
    per_node(
        "redis_errors_total",
        "counter",
        "Error replies by code; codes that are not Redis' own are other (INFO errorstats, Redis 6.2 on).",
        ("err",),
        lambda reading: (((code,), float(count)) for code, count in reading.errors.items()),
    ),
    per_node(
        "redis_clock_offset_seconds",
        "gauge",
        "Seconds that the node's clock is ahead of the exporter's, below 0 if it is behind (INFO or TIME).",
        (),
        lambda reading: [] if reading.clock_offset is None else [((), reading.clock_offset)],
    ),
    per_node(
        "redis_slowlog_length",
        "gauge",
        "Entries in the slow log (SLOWLOG LEN).",
        (),
        lambda reading: [] if reading.slowlog_length is None else [((), float(reading.slowlog_length))],
    ),
)
