"""Variables, label matchers and annotations that several dashboards share."""

from __future__ import annotations

from typing import Final

from deploy.dashboards.model import Annotation, Variable

JOB_VARIABLE: Final = Variable("job", "job", "oxherd_health_score", "Exporter (job)")
PREFIX_VARIABLE: Final = Variable("prefix", "prefix", 'bullmq_job_count{job=~"$job"}', "Prefix")
QUEUE_VARIABLE: Final = Variable(
    "queue", "queue", 'bullmq_job_count{job=~"$job", prefix=~"$prefix"}', "Queue"
)
NODE_VARIABLE: Final = Variable("node", "node", 'redis_up{job=~"$job"}', "Node")

JOB_MATCHER: Final = 'job=~"$job"'
QUEUE_MATCHER: Final = 'job=~"$job", prefix=~"$prefix", queue=~"$queue"'
NODE_MATCHER: Final = 'job=~"$job", node=~"$node"'

FAILOVER_EVENTS: Final = Annotation(
    "Failovers",
    "sum by (shard) (increase(redis_cluster_failovers_total[1m])) > 0",
    "failover of {{shard}}",
    "red",
)
SCALING_EVENTS: Final = Annotation(
    "Scaling",
    "sum by (target, direction, reason) (increase(oxherd_scaler_decisions_total[1m])) > 0",
    "{{target}} {{direction}}: {{reason}}",
    "blue",
)

UP: Final = {"0": "down", "1": "up"}
YES: Final = {"0": "no", "1": "yes"}


def rate(metric: str, selector: str) -> str:
    """Per second, over Grafana's rate interval."""
    return f"rate({metric}{{{selector}}}[$__rate_interval])"


def increase(metric: str, selector: str) -> str:
    """The increase over Grafana's rate interval."""
    return f"increase({metric}{{{selector}}}[$__rate_interval])"
