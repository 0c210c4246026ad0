"""The identity of a Redis deployment: the same at all its exporters, another one at those of others. Pure."""

from __future__ import annotations

from exporter.snapshot.redis import RedisState


def deployment_identity(state: RedisState, database: int) -> str | None:
    """What all nodes of the deployment share, or None if it is not known.

    Of a cluster it is the lowest of its node ids, which stay over restarts and failovers. Otherwise it is the
    id of the replication, which a master and its replicas report; it changes when a master starts again or a
    replica takes over, at all exporters with their next scrape. Databases are deployments of their own.
    """
    topology = state.topology
    if topology.mode == "cluster":
        return min((node.node_id for node in topology.nodes if node.node_id), default=None)
    readings = state.readings()
    masters = [readings[node.address] for node in topology.masters() if node.address in readings]
    for reading in (*masters, *readings.values()):
        replication = reading.info.text("master_replid")
        if replication and replication.strip("0"):
            return f"{replication}/{database}" if database else replication
    return None
