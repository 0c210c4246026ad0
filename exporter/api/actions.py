"""From the plain data of a view to the responses of the actions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from exporter.api import models
from exporter.derived import totals
from exporter.switch import Monitoring
from exporter.views import View, job_counts
from service.api.envelope import ApiError
from service.queue_names import queues_meant, shown_names

OFF = "monitoring is switched off: nothing is collected (start_monitoring switches it on)"


def health_check(view: View) -> models.HealthCheck:
    """The score, and the issues that lower it."""
    known = _known(view)
    return models.HealthCheck.model_validate({**known, **known["health"]})


def system_metrics(view: View) -> models.SystemMetrics:
    """The host and this process."""
    return models.SystemMetrics.model_validate(_known(view))


def redis_cluster(view: View) -> models.RedisCluster:
    """Nodes and their roles."""
    return models.RedisCluster.model_validate(_part(view, "redis"))


def redis_performance(view: View) -> models.RedisPerformance:
    """Memory, clients, commands and hit rate of the nodes."""
    return models.RedisPerformance.model_validate(_part(view, "redis"))


def queue_metrics(view: View, name: str = "") -> models.QueueMetrics:
    """The queues, or the one that the name means. Raises ApiError 404 if there is none, 400 if there are
    several."""
    part = dict(_part(view, "bullmq", "queues"))
    if name:
        known = [(queue["prefix"], queue["name"]) for queue in (*part["queues"], *part["unread"])]
        meant = queues_meant(name, known)
        if not meant:
            shard = view["shard"]
            where = f" in shard {shard['number']} of {shard['shards']}" if shard else ""
            raise ApiError(404, f"there is no queue {name[:100]!r}{where}")
        if len(meant) > 1:
            raise ApiError(400, f"{name[:100]!r} may be each of: {shown_names(meant)}")
        for kind in ("queues", "unread"):
            part[kind] = [queue for queue in part[kind] if (queue["prefix"], queue["name"]) == meant[0]]
    return models.QueueMetrics.model_validate(part | {"totals": _totals(part["queues"])})


def overall(view: View) -> models.Overall:
    """The state in a few numbers; also while monitoring is off."""
    health, redis, queues = (view[part] for part in ("health", "redis", "queues"))
    return models.Overall.model_validate(
        {
            "version": view["version"],
            "shard": view["shard"],
            "uptime_seconds": view["uptime_seconds"],
            "monitoring": view["monitoring"],
            "health": health and health | {"issues": len(health["issues"])},
            "redis": redis and redis | _node_counts(redis["nodes"]),
            "queues": queues and queues | {"queues": len(queues["queues"])} | _totals(queues["queues"]),
            "taken_at": view.get("taken_at"),
        }
    )


def monitoring_status(view: View, monitoring: Monitoring, *, scaler: bool) -> models.MonitoringStatus:
    """Whether monitoring is enabled, and since when."""
    return models.MonitoringStatus(
        enabled=monitoring.enabled,
        interval_minutes=monitoring.interval_minutes,
        origin=monitoring.origin,
        since=monitoring.since,
        uptime_seconds=view["uptime_seconds"] or 0.0,
        version=view["version"],
        scaler=scaler,
        background=[models.Thread.model_validate(task) for task in view["background"]],
    )


def _known(view: View) -> View:
    if view["health"] is None:
        raise ApiError(409, OFF)
    return view


def _part(view: View, source: str, part: str = "") -> Mapping[str, Any]:
    """Raises ApiError 503 if it could not be read: an absent value is not 0."""
    data = _known(view)[part or source]
    if data is None:
        why = next((state["why"] for state in view["sources"] if state["name"] == source), "")
        raise ApiError(503, f"{source} could not be read: {why or 'unknown reason'}")
    return {**data, "taken_at": view["taken_at"], "shard": view["shard"]}


def _node_counts(nodes: Sequence[View]) -> dict[str, int]:
    return {"nodes": len(nodes), "nodes_up": sum(node["up"] for node in nodes)}


def _totals(queues: Iterable[View]) -> dict[str, int]:
    return totals(job_counts(queue) for queue in queues)._asdict()
