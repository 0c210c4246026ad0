"""Whether the system is healthy, and which queue to look at if it is not."""

from __future__ import annotations

from deploy import histograms
from deploy.dashboards.common import (
    FAILOVER_EVENTS,
    JOB_MATCHER,
    JOB_VARIABLE,
    PREFIX_VARIABLE,
    QUEUE_MATCHER,
    QUEUE_VARIABLE,
    SCALING_EVENTS,
    UP,
    rate,
)
from deploy.dashboards.model import Dashboard, Panel, PanelQuery, PanelThresholds, Row


def overview_dashboard(runbooks: str) -> Dashboard:
    """`runbooks`: the URL of the runbooks."""
    health = Row(
        "Is it healthy?",
        [
            Panel(
                "Health score",
                "100 less the points of each issue: healthy from 90, critical below 70; below 50 pages.",
                [PanelQuery(f"min by (job) (oxherd_health_score{{{JOB_MATCHER}}})", "{{job}}")],
                kind="stat",
                width=4,
                thresholds=PanelThresholds.falling(70, 90),
                maximum=100,
                link=("How the score is calculated", f"{runbooks}HealthScoreCritical.md"),
            ),
            Panel(
                "Firing alerts",
                "From the series ALERTS of Prometheus: empty where the rules are not loaded.",
                [PanelQuery('count by (alertname, severity) (ALERTS{alertstate="firing"})', column="alerts")],
                kind="table",
                width=8,
                no_value="no alerts firing",
                link=("Runbooks", f"{runbooks}README.md"),
            ),
            Panel(
                "Penalty of each issue",
                "Points that each issue takes from a score of 100.",
                [PanelQuery(f"max by (issue) (oxherd_health_penalty{{{JOB_MATCHER}}}) > 0", "{{issue}}")],
                width=12,
                stacked=True,
                no_value="no issues",
            ),
            Panel(
                "Redis nodes up",
                "Ratio of known nodes that answered in the last scrape.",
                [
                    PanelQuery(f"sum by (job) (redis_up{{{JOB_MATCHER}}})", "up"),
                    PanelQuery(f"count by (job) (redis_up{{{JOB_MATCHER}}})", "known"),
                ],
                kind="stat",
                width=4,
                height=5,
            ),
            Panel(
                "Queues readable",
                "1 when Redis answered and the state of every known queue could be read.",
                [PanelQuery(f"min by (job) (bullmq_up{{{JOB_MATCHER}}})", "{{job}}")],
                kind="stat",
                width=4,
                height=5,
                thresholds=PanelThresholds.zero_is_bad(),
                texts=UP,
            ),
            Panel(
                "Slots covered",
                "Slots of the cluster's 16384 that have an owner. Empty without a cluster.",
                [PanelQuery(f"min by (job) (redis_cluster_slots_covered{{{JOB_MATCHER}}})", "{{job}}")],
                kind="stat",
                width=4,
                height=5,
                thresholds=PanelThresholds.falling(1, 16384),
                no_value="no cluster",
            ),
            Panel(
                "Failovers",
                "Failovers within the time shown.",
                [
                    PanelQuery(
                        f"sum by (job) (increase(redis_cluster_failovers_total{{{JOB_MATCHER}}}[$__range]))",
                        "{{job}}",
                    )
                ],
                kind="stat",
                width=4,
                height=5,
                thresholds=PanelThresholds.rising(0.5, 3),
                no_value="no cluster",
            ),
            Panel(
                "Score over time",
                "The score, with failovers and scaling marked.",
                [PanelQuery(f"min by (job) (oxherd_health_score{{{JOB_MATCHER}}})", "{{job}}")],
                width=8,
                height=5,
                maximum=100,
                thresholds=PanelThresholds.falling(70, 90),
            ),
        ],
    )
    issues = Row(
        "What is wrong?",
        [
            Panel(
                "Issues",
                "Conditions that are there, and how many queues, nodes or endpoints each concerns.",
                [
                    PanelQuery(
                        f"max by (issue, severity) (oxherd_issue{{{JOB_MATCHER}}}) == 1", column="there"
                    ),
                    PanelQuery(
                        "sum by (issue, severity) (max by (issue, severity, shard) ("
                        f"oxherd_issue_subjects{{{JOB_MATCHER}}} "
                        f"* on (job, instance) group_left (shard) oxherd_shard_info{{{JOB_MATCHER}}} "
                        f"or on (job, instance) oxherd_issue_subjects{{{JOB_MATCHER}}}))",
                        column="affected",
                    ),
                ],
                kind="table",
                width=12,
                height=6,
                no_value="no issues",
                link=("The table of conditions", f"{runbooks}../conditions.md"),
            ),
            Panel(
                "Affected",
                "The worst of each condition, by what was measured there.",
                [
                    PanelQuery(
                        f"max by (issue, subject) (oxherd_issue_affected{{{JOB_MATCHER}}})",
                        column="measured",
                    )
                ],
                kind="table",
                width=12,
                height=6,
                no_value="nothing",
            ),
        ],
    )
    queues = Row(
        "Which queue has problems?",
        [
            Panel(
                "Queues by oldest waiting job",
                "The ten queues with the longest wait of a job in the last five minutes.",
                [
                    PanelQuery(
                        "topk(10, max by (prefix, queue) "
                        f"(max_over_time(bullmq_queue_oldest_waiting_seconds{{{QUEUE_MATCHER}}}[5m])))",
                        "{{prefix}}:{{queue}}",
                    ),
                ],
                kind="bargauge",
                unit="s",
                width=8,
            ),
            Panel(
                "Queues by jobs waiting",
                "The ten queues with most waiting jobs: waiting, paused and prioritized.",
                [
                    PanelQuery(
                        "topk(10, sum by (prefix, queue) "
                        f'(bullmq_job_count{{{QUEUE_MATCHER}, state=~"waiting|paused|prioritized"}}))',
                        "{{prefix}}:{{queue}}",
                    )
                ],
                kind="bargauge",
                width=8,
            ),
            Panel(
                "Queues by jobs failed in an hour",
                "The ten queues with most jobs that finally failed in the last hour.",
                [
                    PanelQuery(
                        "topk(10, sum by (prefix, queue) "
                        f"(increase(bullmq_job_failed_total{{{QUEUE_MATCHER}}}[1h])))",
                        "{{prefix}}:{{queue}}",
                    )
                ],
                kind="bargauge",
                width=8,
            ),
            Panel(
                "Finished jobs",
                "Jobs that completed or finally failed, all queues together.",
                [
                    PanelQuery(
                        f"sum by (job) ({rate('bullmq_job_completed_total', QUEUE_MATCHER)})",
                        "completed",
                    ),
                    PanelQuery(
                        f"sum by (job) ({rate('bullmq_job_failed_total', QUEUE_MATCHER)})",
                        "failed",
                    ),
                ],
                unit="ops",
                width=12,
            ),
            Panel(
                "Waiting time of jobs",
                "All queues together: half of the jobs wait less than p50, one in twenty more than p95.",
                [
                    PanelQuery(
                        histograms.quantile(
                            quantile, "bullmq_job_wait_seconds", QUEUE_MATCHER, "$__rate_interval"
                        ),
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
        "Is the system healthy, and which queue has problems?",
        [JOB_VARIABLE, PREFIX_VARIABLE, QUEUE_VARIABLE],
        [health, issues, queues],
        [FAILOVER_EVENTS, SCALING_EVENTS],
    )
