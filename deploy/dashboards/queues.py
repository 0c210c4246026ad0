"""Each queue: jobs by state, throughput, waiting and processing time, workers."""

from __future__ import annotations

from deploy import histograms
from deploy.dashboards.common import (
    FAILOVER_EVENTS,
    JOB_VARIABLE,
    PREFIX_VARIABLE,
    QUEUE_MATCHER,
    QUEUE_VARIABLE,
    SCALING_EVENTS,
    rate,
)
from deploy.dashboards.memory import memory_row
from deploy.dashboards.model import Dashboard, Panel, PanelQuery, PanelThresholds, Row

_PER = "sum by (prefix, queue)"
_EACH = "max by (prefix, queue, scheduler)"
_BUDGETS = (
    ("Budget of waits", "jobs that wait too long", "queue:bullmq_job_wait_slow", "QueueWaitBudgetBurn"),
    ("Budget of failures", "jobs that fail", "queue:bullmq_job_failed", "QueueFailureBudgetBurn"),
)


def queues_dashboard(runbooks: str) -> Dashboard:
    """`runbooks`: the URL of the runbooks."""
    table = Row(
        "All queues",
        [
            Panel(
                "Queues",
                "Every selected queue at the end of the time shown. An empty cell is unknown.",
                [
                    PanelQuery(_states("waiting|paused|prioritized"), column="waiting"),
                    PanelQuery(_states("active"), column="active"),
                    PanelQuery(_states("delayed"), column="delayed"),
                    PanelQuery(_states("failed"), column="failed, kept"),
                    PanelQuery(
                        f"{_PER} (rate(bullmq_job_completed_total{{{QUEUE_MATCHER}}}[5m]))", column="done"
                    ),
                    PanelQuery(_quantile("0.95", "bullmq_job_wait_seconds", "5m"), column="wait p95"),
                    PanelQuery(_quantile("0.95", "bullmq_job_processing_seconds", "5m"), column="run p95"),
                    PanelQuery(
                        f"max by (prefix, queue) (bullmq_queue_oldest_waiting_seconds{{{QUEUE_MATCHER}}})",
                        column="oldest",
                    ),
                    PanelQuery(
                        f"max by (prefix, queue) (bullmq_queue_workers{{{QUEUE_MATCHER}}})", column="workers"
                    ),
                    PanelQuery(
                        f"max by (prefix, queue) (bullmq_queue_load_factor{{{QUEUE_MATCHER}}})",
                        column="load",
                    ),
                ],
                kind="table",
                width=24,
                height=10,
                units={"done": "ops", "wait p95": "s", "run p95": "s", "oldest": "s", "load": "percentunit"},
            )
        ],
    )
    schedulers = Row(
        "Job schedulers",
        [
            Panel(
                "Schedulers",
                "Job schedulers and repeatable jobs: when they run next, when they ran last, and how long "
                "the next job is due. In a queue that is paused or limited it may be due without being late.",
                [
                    PanelQuery(
                        f"{_EACH} (bullmq_scheduler_next_run_timestamp_seconds{{{QUEUE_MATCHER}}}) - time()",
                        column="runs in",
                    ),
                    PanelQuery(
                        f"time() - {_EACH} (bullmq_scheduler_last_run_timestamp_seconds{{{QUEUE_MATCHER}}})",
                        column="ran ago",
                    ),
                    PanelQuery(
                        f"{_EACH} (bullmq_scheduler_lateness_seconds{{{QUEUE_MATCHER}}})", column="due for"
                    ),
                ],
                kind="table",
                width=12,
                units={"runs in": "s", "ran ago": "s", "due for": "s"},
                no_value="no schedulers",
            ),
            Panel(
                "Late, stopped or twice",
                "Schedulers with a condition, as the score, the page and the alerts have it: for how many "
                "seconds they are late or have no next job, or how many do the same.",
                [
                    PanelQuery(
                        "max by (issue, subject) "
                        f'(oxherd_issue_affected{{{QUEUE_MATCHER}, issue=~"scheduler_.+"}})',
                        column="measured",
                    )
                ],
                kind="table",
                width=12,
                no_value="none",
                link=("SchedulerLate", f"{runbooks}SchedulerLate.md"),
            ),
        ],
    )
    details = Row(
        "$queue",
        [
            Panel(
                "Jobs by state",
                "Current jobs; waiting includes the jobs of a paused queue.",
                [
                    PanelQuery(
                        f'sum by (state) (bullmq_job_count{{{QUEUE_MATCHER}, state!~"completed|failed"}})',
                        "{{state}}",
                    )
                ],
                stacked=True,
            ),
            Panel(
                "Throughput",
                "Jobs added, completed and finally failed, and attempts that are retried.",
                [
                    PanelQuery(
                        f"sum by (job) (rate(bullmq_job_{what}_total{{{QUEUE_MATCHER}}}[$__rate_interval]))",
                        what,
                    )
                    for what in ("added", "completed", "failed", "retried", "stalled")
                ],
                unit="ops",
            ),
            Panel(
                "Error rate",
                "Ratio of finished jobs that finally failed; empty while no job finishes.",
                [
                    PanelQuery(
                        f"sum by (job) ({rate('bullmq_job_failed_total', QUEUE_MATCHER)}) / "
                        f"(sum by (job) ({rate('bullmq_job_failed_total', QUEUE_MATCHER)}) + "
                        f"sum by (job) ({rate('bullmq_job_completed_total', QUEUE_MATCHER)}) > 0)",
                        "failed",
                    )
                ],
                unit="percentunit",
                maximum=1,
                link=("HighFailedJobs", f"{runbooks}HighFailedJobs.md"),
            ),
            Panel(
                "Why jobs fail",
                "The ten most frequent reasons, without what differs from job to job. `other`: those without "
                "a series of their own.",
                [
                    PanelQuery(
                        f"topk(10, sum by (queue, reason) "
                        f"(rate(bullmq_job_failed_reasons_total{{{QUEUE_MATCHER}}}[$__rate_interval])) > 0)",
                        "{{queue}}: {{reason}}",
                    )
                ],
                unit="ops",
                width=24,
                link=("HighFailedJobs", f"{runbooks}HighFailedJobs.md"),
            ),
            Panel(
                "Attempts a job",
                "Attempts that were started for each job that ended: 1 without retries. Well above it, the "
                "load is retries, not new work. From BullMQ 5 also attempts that a rate limit sent back.",
                [
                    PanelQuery(
                        f"sum by (queue) ({rate('bullmq_job_started_total', QUEUE_MATCHER)}) / "
                        f"(sum by (queue) ({rate('bullmq_job_completed_total', QUEUE_MATCHER)}) + "
                        f"sum by (queue) ({rate('bullmq_job_failed_total', QUEUE_MATCHER)}) > 0)",
                        "{{queue}}",
                    )
                ],
                unit="short",
                width=24,
            ),
            Panel(
                "Time by job name",
                "The ten names of jobs that take most of the workers' time: seconds of work a second. "
                "`other`: names without a series of their own; `unknown`: added before the exporter followed "
                "the queue.",
                [
                    PanelQuery(
                        f"topk(10, sum by (queue, name) "
                        f"(rate(bullmq_job_name_processing_seconds_sum{{{QUEUE_MATCHER}}}"
                        f"[$__rate_interval])) > 0)",
                        "{{queue}}: {{name}}",
                    )
                ],
                unit="short",
                width=12,
            ),
            Panel(
                "Mean wait by job name",
                "The ten names of jobs that waited longest for a worker, on average.",
                [
                    PanelQuery(
                        f"topk(10, sum by (queue, name) "
                        f"({rate('bullmq_job_name_wait_seconds_sum', QUEUE_MATCHER)}) / "
                        f"sum by (queue, name) "
                        f"({rate('bullmq_job_name_wait_seconds_count', QUEUE_MATCHER)}) >= 0)",
                        "{{queue}}: {{name}}",
                    )
                ],
                unit="s",
                width=12,
            ),
            Panel(
                "Waiting time",
                "Distribution of the time that jobs waited for a worker.",
                [PanelQuery(_heat("bullmq_job_wait_seconds"), "{{le}}")],
                kind="heatmap",
                unit="s",
                width=8,
            ),
            Panel(
                "Processing time",
                "Distribution of the duration of attempts.",
                [PanelQuery(_heat("bullmq_job_processing_seconds"), "{{le}}")],
                kind="heatmap",
                unit="s",
                width=8,
            ),
            Panel(
                "Quantiles",
                "Quantiles of waiting time and of processing time.",
                [
                    PanelQuery(
                        histograms.quantile(quantile, metric, QUEUE_MATCHER, "$__rate_interval"),
                        f"{what} p{quantile[2:].ljust(2, '0')}",
                    )
                    for what, metric in (
                        ("wait", "bullmq_job_wait_seconds"),
                        ("run", "bullmq_job_processing_seconds"),
                    )
                    for quantile in ("0.5", "0.95")
                ],
                unit="s",
            ),
            Panel(
                "Oldest waiting job",
                "Seconds since the first job of the queue became ready to be taken.",
                [
                    PanelQuery(
                        f"max by (queue) (bullmq_queue_oldest_waiting_seconds{{{QUEUE_MATCHER}}})",
                        "{{queue}}",
                    )
                ],
                unit="s",
            ),
            Panel(
                "Workers",
                "Connected workers, and active jobs.",
                [
                    PanelQuery(f"sum by (job) (bullmq_queue_workers{{{QUEUE_MATCHER}}})", "workers"),
                    PanelQuery(
                        f'sum by (job) (bullmq_job_count{{{QUEUE_MATCHER}, state="active"}})', "active jobs"
                    ),
                ],
            ),
            Panel(
                "Load and utilization",
                "Load: waiting and active jobs divided by the capacity of the workers. Utilization: active "
                "jobs against their slots, where the settings have the concurrency of a worker.",
                [
                    PanelQuery(
                        f"max by (queue) (bullmq_queue_load_factor{{{QUEUE_MATCHER}}})", "load of {{queue}}"
                    ),
                    PanelQuery(
                        f"max by (queue) (bullmq_queue_worker_utilization{{{QUEUE_MATCHER}}})",
                        "utilization of {{queue}}",
                    ),
                ],
                unit="percentunit",
                maximum=1,
            ),
        ],
        repeat="queue",
    )
    budget = Row(
        "Error budget of 30 days",
        [
            Panel(
                title,
                f"What is left of each queue's budget for {what}: below 0 more was used than there was. "
                "Recorded by oxherd-extra.yml; empty where it is not loaded.",
                [
                    PanelQuery(
                        "bottomk(10, min by (prefix, queue) "
                        f"(last_over_time({series}:budget_left30d{{{QUEUE_MATCHER}}}[15m])))",
                        "{{prefix}}:{{queue}}",
                    )
                ],
                kind="bargauge",
                unit="percentunit",
                width=6,
                minimum=None,
                maximum=1,
                thresholds=PanelThresholds.falling(0, 0.25),
                no_value="no objectives",
                link=(alert, f"{runbooks}{alert}.md"),
            )
            for title, what, series, alert in _BUDGETS
        ]
        + [
            Panel(
                f"{title}: share",
                f"Share of the jobs of the last hour that were {bad}.",
                [
                    PanelQuery(
                        f"max by (prefix, queue) ({series}:ratio_rate1h{{{QUEUE_MATCHER}}})",
                        "{{prefix}}:{{queue}}",
                    )
                ],
                unit="percentunit",
                width=6,
                no_value="no objectives",
            )
            for (title, _, series, _), bad in zip(_BUDGETS, ("late", "failed"), strict=True)
        ],
    )
    return Dashboard(
        "oxherd-queues",
        "Oxherd / Queues",
        "Which queue has problems, and why?",
        [JOB_VARIABLE, PREFIX_VARIABLE, QUEUE_VARIABLE],
        [table, memory_row(), schedulers, budget, details],
        [FAILOVER_EVENTS, SCALING_EVENTS],
    )


def _states(states: str) -> str:
    return f'{_PER} (bullmq_job_count{{{QUEUE_MATCHER}, state=~"{states}"}})'


def _quantile(quantile: str, metric: str, time: str) -> str:
    return histograms.quantile(quantile, metric, QUEUE_MATCHER, time, "prefix", "queue")


def _heat(metric: str) -> str:
    return histograms.heatmap(metric, QUEUE_MATCHER, "$__rate_interval")
