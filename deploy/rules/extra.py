"""Opt-in alerts and recording rules: the exporter itself, and early signs before one of the eight fires."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from deploy.rules.rule import Alert, RuleJson, Severity, group, recording, rules_yaml
from deploy.rules.thresholds import AlertThresholds, as_percent, number

BURNS: Final[tuple[tuple[str, str, float, Severity, str], ...]] = (
    ("1h", "5m", 14.4, "high", "10m"),
    ("6h", "30m", 6.0, "high", "30m"),
    ("1d", "2h", 3.0, "medium", "30m"),
    ("3d", "6h", 1.0, "medium", "30m"),
)
"""A long and a short window, the burn rate of the budget of 30 days, severity, cooldown: the windows of
Google's SRE workbook."""


def _slow(window: str) -> str:
    return f"queue:bullmq_job_wait_slow:ratio_rate{window}"


def recordings(t: AlertThresholds) -> list[RuleJson]:
    """The ratio of jobs that waited too long to the jobs started in a window; absent if none was started."""
    job = f'job="{t.job}"'
    bucket = f'{job}, le=~"{number(t.wait_seconds)}([.]0)?"'
    windows = sorted({window for long, short, *_ in BURNS for window in (long, short)})
    return [
        recording(
            _slow(window),
            f"""
                1 - sum without (le) (rate(bullmq_job_wait_seconds_bucket{{{bucket}}}[{window}]))
                  / (rate(bullmq_job_wait_seconds_count{{{job}}}[{window}]) > 0)
            """,
        )
        for window in windows
    ]


def slow_queues(t: AlertThresholds) -> Iterator[Alert]:
    """One alert per pair of windows: the short one resolves it soon after the jobs are on time again."""
    budget = 1 - t.wait_objective
    for long, short, factor, severity, cooldown in BURNS:
        limit = f"{factor:g} * {budget:g}"
        yield Alert(
            f"QueueWaitBudgetBurn{long}",
            severity,
            cooldown,
            for_="2m",
            expression=f"""
                {_slow(long)}{{job="{t.job}"}} > ({limit})
                and {_slow(short)}{{job="{t.job}"}} > ({limit})
            """,
            summary="Jobs wait too long.",
            description=f"{{{{ $value | humanizePercentage }}}} of the jobs of queue "
            f"{{{{ $labels.queue }}}} waited more than {number(t.wait_seconds)} s in the last {long}; "
            f"the objective allows {as_percent(budget)}.",
            variables=["queue"],
        )


def extra_alerts(t: AlertThresholds) -> tuple[Alert, ...]:
    """Alerts on the exporter, event streams, workers and replication."""
    job = f'job="{t.job}"'
    answers = f"up{{{job}}} == 1 unless on (job, instance)"
    return (
        Alert(
            "OxherdExporterDown",
            "high",
            "10m",
            for_="1m",
            expression=f"up{{{job}}} == 0 or absent(up{{{job}}})",
            summary="The exporter is down.",
            description="Prometheus cannot scrape "
            "{{ if $labels.instance }}{{ $labels.instance }}"
            "{{ else }}any exporter of job {{ $labels.job }}{{ end }}: the other alerts cannot fire.",
        ),
        Alert(
            "OxherdSeriesMissing",
            "high",
            "10m",
            for_="2m",
            expression=f"""
                {answers} oxherd_collect_success{{{job}, source="redis"}}
                unless on (job, instance) oxherd_monitoring_enabled{{{job}}} == 0
            """,
            summary="The exporter serves no series of Redis.",
            description="{{ $labels.instance }} serves no series of Redis, not even that Redis is down: "
            "is it an exporter, or are its series dropped?",
            variables=["instance"],
        ),
        Alert(
            "OxherdCollectFailing",
            "medium",
            "15m",
            for_="5m",
            expression=f'oxherd_collect_success{{{job}, source!~"redis|bullmq"}} == 0',
            summary="A source cannot be read.",
            description="{{ $labels.instance }} has not read {{ $labels.source }} for 5 minutes.",
            variables=["instance"],
        ),
        Alert(
            "QueueEventsLost",
            "medium",
            "15m",
            for_="30s",
            expression=f"increase(bullmq_events_lost_total{{{job}}}[10m]) > 0",
            summary="Events of a queue were lost.",
            description="{{ $value | humanize }} events of queue {{ $labels.queue }} were trimmed unread in "
            "10 minutes, so its counters are too low; none should be.",
            variables=["queue"],
        ),
        Alert(
            "QueueWithoutWorkers",
            "medium",
            "30m",
            for_="10m",
            expression=f"""
                bullmq_queue_workers{{{job}}} == 0
                unless bullmq_queue_paused{{{job}}} == 1
                unless sum without (state) (bullmq_job_count{{{job}, state=~"waiting|prioritized"}}) > 0
            """,
            summary="A queue has no worker.",
            description="No worker is connected to queue {{ $labels.queue }}; no job waits yet.",
            variables=["queue"],
        ),
        Alert(
            "JobsStalled",
            "medium",
            "15m",
            for_="30s",
            expression=f"increase(bullmq_job_stalled_total{{{job}}}[10m]) > 0",
            summary="Jobs have stalled.",
            description="{{ $value | humanize }} attempts of queue {{ $labels.queue }} stalled in "
            "10 minutes; none should.",
            variables=["queue"],
        ),
        Alert(
            "ReplicationBroken",
            "high",
            "10m",
            for_="2m",
            expression=f"max without (master_host, master_port) (redis_master_link_up{{{job}}}) == 0",
            summary="A replica is disconnected from its master.",
            description="The link of {{ $labels.node }} to its master is down: it gets no writes.",
            variables=["node"],
        ),
        Alert(
            "FailoverHappened",
            "medium",
            "10m",
            for_="0s",
            expression=f"increase(redis_cluster_failovers_total{{{job}}}[5m]) > 0",
            summary="A replica became master.",
            description="Shard {{ $labels.shard }} has another master than 5 minutes ago.",
        ),
    )


def oxherd_extra(thresholds: AlertThresholds) -> str:
    """The text of oxherd-extra.yml."""
    alerts = [*extra_alerts(thresholds), *slow_queues(thresholds)]
    return rules_yaml(
        group("oxherd-recordings", recordings(thresholds)),
        group("oxherd-extra", [alert.rule(thresholds) for alert in alerts]),
    )
