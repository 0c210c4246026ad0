"""Is it healthy? And where to look if it is not."""

from __future__ import annotations

from deploy.dashboards.common import ALL, FAILOVERS, JOB, PREFIX, QUEUE, QUEUES, SCALING, UP, rate
from deploy.dashboards.model import Dashboard, Panel, Query, Row, Thresholds


def overview(runbooks: str) -> Dashboard:
    """`runbooks`: where the alerts' pages are."""
    health = Row(
        "Is it healthy?",
        [
            Panel(
                "Health score",
                "100 less the points of each issue: healthy from 90, critical below 70; below 50 pages.",
                [Query(f"min by (job) (oxherd_health_score{{{ALL}}})", "{{job}}")],
                kind="stat",
                width=4,
                thresholds=Thresholds.falling(70, 90),
                maximum=100,
                link=("What the score is made of", f"{runbooks}HealthScoreCritical.md"),
            ),
            Panel(
                "Alerts that fire",
                "Of Prometheus' own series ALERTS, so only where the rules are loaded there.",
                [Query('count by (alertname, severity) (ALERTS{alertstate="firing"})', column="alerts")],
                kind="table",
                width=8,
                nothing="no alert fires",
                link=("Runbooks", f"{runbooks}README.md"),
            ),
            Panel(
                "Points that each issue takes",
                "What the score is less than 100 for, over time.",
                [Query(f"max by (issue) (oxherd_health_penalty{{{ALL}}}) > 0", "{{issue}}")],
                width=12,
                stacked=True,
                nothing="no issue",
            ),
            Panel(
                "Redis nodes that answer",
                "Nodes that answered in the last scrape, of all that are known.",
                [
                    Query(f"sum by (job) (redis_up{{{ALL}}})", "up"),
                    Query(f"count by (job) (redis_up{{{ALL}}})", "known"),
                ],
                kind="stat",
                width=4,
                height=5,
            ),
            Panel(
                "Queues can be read",
                "1 when Redis answered and the state of every known queue could be read.",
                [Query(f"min by (job) (bullmq_up{{{ALL}}})", "{{job}}")],
                kind="stat",
                width=4,
                height=5,
                thresholds=Thresholds.wanted(),
                texts=UP,
            ),
            Panel(
                "Slots covered",
                "Slots of a cluster's 16384 that have an owner. Empty without a cluster.",
                [Query(f"min by (job) (redis_cluster_slots_covered{{{ALL}}})", "{{job}}")],
                kind="stat",
                width=4,
                height=5,
                thresholds=Thresholds.falling(1, 16384),
                nothing="no cluster",
            ),
            Panel(
                "Failovers",
                "Within the time shown.",
                [
                    Query(
                        f"sum by (job) (increase(redis_cluster_failovers_total{{{ALL}}}[$__range]))",
                        "{{job}}",
                    )
                ],
                kind="stat",
                width=4,
                height=5,
                thresholds=Thresholds.rising(0.5, 3),
                nothing="no cluster",
            ),
            Panel(
                "Score over time",
                "The score, with failovers and scaling marked.",
                [Query(f"min by (job) (oxherd_health_score{{{ALL}}})", "{{job}}")],
                width=8,
                height=5,
                maximum=100,
                thresholds=Thresholds.falling(70, 90),
            ),
        ],
    )
    queues = Row(
        "Which queue hurts?",
        [
            Panel(
                "Queues by oldest waiting job",
                "The ten queues in which a job waited longest in the last five minutes.",
                [
                    Query(
                        "topk(10, max by (prefix, queue) "
                        f"(max_over_time(bullmq_queue_oldest_waiting_seconds{{{QUEUES}}}[5m])))",
                        "{{prefix}}:{{queue}}",
                    ),
                ],
                kind="bargauge",
                unit="s",
                width=8,
                thresholds=Thresholds.rising(30, 300),
            ),
            Panel(
                "Queues by jobs waiting",
                "The ten longest lines: waiting, paused and prioritized.",
                [
                    Query(
                        "topk(10, sum by (prefix, queue) "
                        f'(bullmq_job_count{{{QUEUES}, state=~"waiting|paused|prioritized"}}))',
                        "{{prefix}}:{{queue}}",
                    )
                ],
                kind="bargauge",
                width=8,
                thresholds=Thresholds.rising(100, 1000),
            ),
            Panel(
                "Queues by jobs failed in an hour",
                "The ten queues with most jobs that failed for good in the last hour.",
                [
                    Query(
                        "topk(10, sum by (prefix, queue) "
                        f"(increase(bullmq_job_failed_total{{{QUEUES}}}[1h])))",
                        "{{prefix}}:{{queue}}",
                    )
                ],
                kind="bargauge",
                width=8,
                thresholds=Thresholds.rising(1, 50),
            ),
            Panel(
                "Jobs done",
                "Jobs that completed or failed for good, all queues together.",
                [
                    Query(
                        f"sum by (job) ({rate('bullmq_job_completed_total', QUEUES)})",
                        "completed",
                    ),
                    Query(
                        f"sum by (job) ({rate('bullmq_job_failed_total', QUEUES)})",
                        "failed",
                    ),
                ],
                unit="ops",
                width=12,
            ),
            Panel(
                "How long jobs wait",
                "All queues together: half of the jobs wait less than p50, one in twenty more than p95.",
                [
                    Query(
                        f"histogram_quantile({quantile}, sum by (le) "
                        f"({rate('bullmq_job_wait_seconds_bucket', QUEUES)}))",
                        name,
                    )
                    for quantile, name in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))
                ],
                unit="s",
                width=12,
            ),
        ],
    )
    return Dashboard(
        "oxherd-overview",
        "Oxherd / Overview",
        "Is it healthy, and which queue hurts?",
        [JOB, PREFIX, QUEUE],
        [health, queues],
        [FAILOVERS, SCALING],
    )
