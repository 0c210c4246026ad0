"""The deployment as a whole: each node's view of its cluster, what the nodes agree on, and the sentinels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from exporter.assessment import Assessment
from exporter.derived import replication_lags
from exporter.metrics.family import Family, Sample
from exporter.metrics.redis import field_sample, per_node, redis_state, state_of
from exporter.snapshot.redis import SentinelMaster, Topology


def _own_view(name: str, field: str, text: str) -> Family:
    return per_node(name, "gauge", text, (), lambda reading: field_sample(reading.cluster_info, field))


def _agreed(assessment: Assessment) -> Topology | None:
    """The topology that most nodes or sentinels report; None if none of them answers.

    None for a standalone server too: it has no other nodes, and redis_up is sufficient.
    """
    state = redis_state(assessment)
    if state is None or state.topology.mode == "standalone":
        return None
    has_report = state.sentinel is not None if state.topology.mode == "sentinel" else state.reachable
    return state.topology if has_report else None


def _node_healthy(assessment: Assessment) -> Iterator[Sample]:
    agreed = _agreed(assessment)
    for node in agreed.nodes if agreed else ():
        yield (node.address, node.role, node.shard), float(node.healthy)


def _node_role(assessment: Assessment) -> Iterator[Sample]:
    agreed = _agreed(assessment)
    for node in agreed.nodes if agreed else ():
        yield (node.address, node.role), 1.0


def _replication_lag(assessment: Assessment) -> Iterator[Sample]:
    state = redis_state(assessment)
    for replica, (master, lag) in (replication_lags(state) if state else {}).items():
        yield (replica, master), lag


def _slots_covered(assessment: Assessment) -> Iterator[Sample]:
    agreed = _agreed(assessment)
    if agreed and agreed.mode == "cluster":
        yield (), float(agreed.slots_covered())


def _failovers(assessment: Assessment) -> Iterator[Sample]:
    state = redis_state(assessment)
    for shard, count in state.failovers.items() if state else ():
        yield (shard,), float(count)


def _sentinel(
    read: Callable[[SentinelMaster], tuple[tuple[str, ...], bool | None]],
) -> Callable[[Assessment], Iterator[Sample]]:
    def samples(assessment: Assessment) -> Iterator[Sample]:
        state = redis_state(assessment)
        if state and state.sentinel:
            labels, value = read(state.sentinel)
            if value is not None:
                yield labels, float(value)

    return samples


FAMILIES: Final[tuple[Family, ...]] = (
    per_node(
        "redis_cluster_state",
        "gauge",
        "1 when the node reports cluster_state ok, else 0 (CLUSTER INFO).",
        (),
        lambda reading: state_of(reading.cluster_info, "cluster_state", "ok"),
    ),
    _own_view(
        "redis_cluster_slots_assigned", "cluster_slots_assigned", "Slots with an owner, in the node's view."
    ),
    _own_view(
        "redis_cluster_slots_ok", "cluster_slots_ok", "Slots whose owner is healthy, in the node's view."
    ),
    _own_view(
        "redis_cluster_slots_pfail",
        "cluster_slots_pfail",
        "Slots whose owner this node cannot reach, before the cluster has agreed on it.",
    ),
    _own_view(
        "redis_cluster_slots_fail", "cluster_slots_fail", "Slots whose owner the cluster agrees has failed."
    ),
    _own_view(
        "redis_cluster_known_nodes", "cluster_known_nodes", "Nodes in the node's table, failed ones included."
    ),
    _own_view(
        "redis_cluster_size", "cluster_size", "Masters that own at least one slot, in the node's view."
    ),
    _own_view(
        "redis_cluster_current_epoch", "cluster_current_epoch", "The highest epoch that the node has seen."
    ),
    Family(
        "redis_cluster_node_healthy",
        "gauge",
        "1 when most of the other nodes (or sentinels) report it as linked and not failing, else 0; redis_up "
        "is the exporter's view. Shard: the lowest slot of its master, or the name of the sentinels' master.",
        ("node", "role", "shard"),
        _node_healthy,
    ),
    Family(
        "redis_cluster_node_role",
        "gauge",
        "1, with the role that the nodes (or sentinels) agree on: master, replica or unknown.",
        ("node", "role"),
        _node_role,
    ),
    Family(
        "redis_cluster_replication_lag_bytes",
        "gauge",
        "Bytes of the master's replication stream that the replica has not received yet (INFO of both).",
        ("node", "master"),
        _replication_lag,
    ),
    Family(
        "redis_cluster_slots_covered",
        "gauge",
        "Slots of 16384 that have an owner, as the nodes agree.",
        (),
        _slots_covered,
    ),
    Family(
        "redis_cluster_failovers_total",
        "counter",
        "Failovers since the exporter's start, by hand or by a master's death: the slots (or the sentinels' "
        "master) passed to a replica under a new config epoch. Neither resharding nor a restart counts.",
        ("shard",),
        _failovers,
    ),
    Family(
        "redis_sentinel_master_status",
        "gauge",
        "1 when most sentinels report the master as up, 0 when they report it as down.",
        ("master_name", "master_address"),
        _sentinel(lambda master: ((master.name, master.address), master.status_ok)),
    ),
    Family(
        "redis_sentinel_quorum_ok",
        "gauge",
        "1 when most sentinels report that a failover could be authorised now (SENTINEL CKQUORUM).",
        ("master_name",),
        _sentinel(lambda master: ((master.name,), master.quorum_ok)),
    ),
)
