"""The eight alerts.

An alert keeps the labels of its target, so that a healthy exporter does not hide the failure of another.
Series of nodes have the node as their `instance` (prometheus.yml copies it), so alerts
that an unreachable Redis causes are matched with it by the job.
"""

from __future__ import annotations

from deploy.rules.rule import Alert, group, rules_yaml
from deploy.rules.thresholds import AlertThresholds, as_percent, number


def eight(t: AlertThresholds) -> tuple[Alert, ...]:
    """The alerts in the order of evaluation: inhibiting alerts come first."""
    job = f'job="{t.job}"'
    redis_answers = f'unless on (job) ALERTS{{{job}, alertname="RedisConnectionDown"}}'
    waiting = f'{job}, state=~"waiting|prioritized"'
    active = f'{job}, state="active"'
    return (
        Alert(
            "RedisConnectionDown",
            "critical",
            "5m",
            for_="30s",
            expression=f'max without (source) (oxherd_collect_success{{{job}, source="redis"}}) == 0',
            summary="Redis cannot be reached.",
            description="No Redis node answers the exporter {{ $labels.instance }}; at least one must.",
            variables=["instance"],
        ),
        Alert(
            "ClusterNodeDown",
            "high",
            "10m",
            for_="1m",
            expression=f"""
                (
                  min without (role, shard) (redis_cluster_node_healthy{{{job}}}) == 0
                  or
                  redis_up{{{job}}} == 0
                )
                {redis_answers}
            """,
            summary="A Redis node is down.",
            description="Node {{ $labels.node }} does not answer, or most other nodes see it as failing; "
            "every node must be up.",
            variables=["node"],
        ),
        Alert(
            "HighMemoryUsage",
            "medium",
            "15m",
            for_="5m",
            expression=f"""
                (
                  redis_memory_used_bytes{{{job}}} / (redis_memory_max_bytes{{{job}}} > 0)
                  or
                  redis_memory_used_bytes{{{job}}} / (redis_total_system_memory_bytes{{{job}}} > 0)
                ) > {number(t.redis_memory_ratio)}
            """,
            summary="A Redis node is short of memory.",
            description="Node {{ $labels.node }} uses {{ $value | humanizePercentage }} of its maxmemory, "
            "or of its host's memory where none is set; "
            f"the threshold is {as_percent(t.redis_memory_ratio)}.",
            variables=["node"],
        ),
        Alert(
            "QueueSystemDown",
            "critical",
            "5m",
            for_="2m",
            expression=f"""
                (
                  bullmq_up{{{job}}} == 0
                  or
                  (
                    sum without (state) (bullmq_job_count{{{waiting}}}) > 0
                    unless bullmq_queue_paused{{{job}}} == 1
                  )
                  and (
                    bullmq_queue_workers{{{job}}} == 0
                    or
                    (
                      increase(bullmq_job_started_total{{{job}}}[10m]) == 0
                      and bullmq_job_started_total{{{job}}} offset 10m
                      and sum without (state) (min_over_time(bullmq_job_count{{{waiting}}}[10m])) > 0
                      and sum without (state) (max_over_time(bullmq_job_count{{{active}}}[10m])) == 0
                      unless max_over_time(bullmq_queue_paused{{{job}}}[10m]) == 1
                      unless max_over_time(bullmq_queue_rate_limit_ttl_seconds{{{job}}}[10m]) > 0
                      unless max_over_time(bullmq_events_lag_seconds{{{job}}}[10m]) > 60
                      unless on (job, instance) min_over_time(up{{{job}}}[10m]) == 0
                    )
                  )
                )
                {redis_answers}
            """,
            summary="Queues are not processed.",
            description="{{ if $labels.queue }}Jobs wait in queue {{ $labels.queue }}, which is not paused, "
            "and it has no worker, or no job has started for 10 minutes.{{ else }}"
            "The exporter {{ $labels.instance }} cannot read the state of every queue.{{ end }}",
            variables=["queue"],
        ),
        Alert(
            "HighFailedJobs",
            "medium",
            "30m",
            for_="2m",
            expression=f"""
                sum without (state) (bullmq_job_count{{{job}, state="failed"}}) > {t.failed_jobs}
                or
                increase(bullmq_job_failed_total{{{job}}}[1h]) > {t.failed_jobs}
            """,
            summary="A queue has many failed jobs.",
            description="Queue {{ $labels.queue }} has {{ $value | humanize }} failed jobs, "
            f"kept or of the last hour; the threshold is {t.failed_jobs}.",
            variables=["queue"],
        ),
        Alert(
            "SystemMemoryLow",
            "high",
            "15m",
            for_="5m",
            expression=f"host_memory_available_bytes{{{job}}} / (host_memory_total_bytes{{{job}}} > 0)"
            f" < {number(t.host_memory_available_ratio)}",
            summary="The host is short of memory.",
            description="{{ $value | humanizePercentage }} of the memory of {{ $labels.instance }} is "
            f"available; the threshold is {as_percent(t.host_memory_available_ratio)}.",
            variables=["instance"],
        ),
        Alert(
            "HighSystemLoad",
            "medium",
            "20m",
            for_="10m",
            expression=f"host_load1{{{job}}} / (host_machine_cpu_count{{{job}}} > 0)"
            f" > {number(t.host_load_per_core)}",
            summary="The host is overloaded.",
            description="The load of {{ $labels.instance }} is {{ $value | humanize }} for each core; "
            f"the threshold is {number(t.host_load_per_core)}.",
            variables=["instance"],
        ),
        Alert(
            "HealthScoreCritical",
            "critical",
            "10m",
            for_="3m",
            expression=f"""
                oxherd_health_score{{{job}}} < {number(t.health_score)}
                unless bullmq_up{{{job}}} == 0
                {redis_answers}
            """,
            summary="The health score is critical.",
            description="The health score at {{ $labels.instance }} is {{ $value | humanize }} of 100; "
            f"the threshold is {number(t.health_score)}.",
            variables=["instance"],
        ),
    )


def oxherd(thresholds: AlertThresholds) -> str:
    """The text of oxherd.yml."""
    return rules_yaml(group("oxherd", [alert.rule(thresholds) for alert in eight(thresholds)]))
