"""The eight alerts.

Each is one series, and so one notification, for a job, and the two of the host for a host: the description
lists what is affected. Two exporters of one Redis are one job. Series of nodes have the node as their
`instance` (prometheus.yml copies it).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from deploy.rules.affected import Affected, one_each, one_each_queue, recent
from deploy.rules.rule import Alert, alert_rules, group, rules_yaml
from deploy.rules.thresholds import AlertThresholds, as_percent, number

SLOTS: Final = 16384
"""Hash slots of a Redis Cluster (Cluster specification)."""

_WHOLE: Final = 'printf "%.0f"'
"""The template function for a number of jobs: an increase has decimals."""


def eight(t: AlertThresholds) -> tuple[Alert, ...]:
    """The alerts in the order of evaluation: inhibiting alerts come first."""
    return (*_redis(t), *_queues(t), *_host(t), _score(t))


def redis_answers(t: AlertThresholds) -> str:
    """Not `pending`, as a collection that fails now and then would restart the `for` of these alerts."""
    return f'unless on (job) ALERTS{{job="{t.job}", alertname="RedisConnectionDown", alertstate="firing"}}'


def issue(t: AlertThresholds, name: str) -> Affected:
    """The subjects of a condition of the exporter, which publishes the worst ten and the number of all.

    Shards of the queues have different ones: their numbers add up; those of two exporters of one do not.
    """
    series = f'oxherd_issue_affected{{job="{t.job}", issue="{name}"}}'
    total = f'oxherd_issue_subjects{{job="{t.job}", issue="{name}"}}'
    known = f'oxherd_issue{{job="{t.job}", issue="{name}"}}'
    return Affected(
        # An earlier value counts only in the gap of a failed scrape.
        f"max by (job, subject, queue) ({series} or ({recent(series)} unless on (job, instance) {known}))",
        total=f"sum({each_shard(t.job, recent(total))})",
    )


def each_shard(job: str, series: str) -> str:
    """The highest of the values that the exporters of one shard of the queues have; one that does not say
    which shard it is has all queues."""
    info = f'oxherd_shard_info{{job="{job}"}}'
    return (
        f"max by (job, shard) ({series} * on (job, instance) group_left (shard) {info} "
        f"or on (job, instance) {series})"
    )


def while_present(t: AlertThresholds, name: str) -> str:
    """The affected of a condition, and the condition itself for the time in which none is listed."""
    present = recent(f'oxherd_issue{{job="{t.job}", issue="{name}"}}')
    return f"[affected]\nor on (job)\nmax by (job) ({present} == 1)"


def _redis(t: AlertThresholds) -> Iterator[Alert]:
    job = f'job="{t.job}"'
    # At its highest: while slots move, an exporter may see one without an owner.
    uncovered = f"max by (job) (max_over_time(redis_cluster_slots_covered{{{job}}}[30s])) < {SLOTS}"
    success = f'oxherd_collect_success{{{job}, source="redis"}}'
    yield Alert(
        "RedisConnectionDown",
        "critical",
        "5m",
        for_="30s",
        affected=Affected(
            one_each(
                f"""avg_over_time({success}[10m]) and (
    {success} == 0
    or (
      min_over_time({success}[1m]) == 0
      and avg_over_time({success}[10m]) <= {number(t.redis_success_ratio)}
      and {success} offset 10m
    )
  )""",
                "instance",
                least=True,
            ),
            unit="humanizePercentage",
            note=" of its collections in 10 minutes succeeded",
            least=True,
            variable="instance",
        ),
        summary="Redis cannot be reached.",
        description="No Redis node answers, or only now and then: [affected].",
    )
    yield Alert(
        "ClusterNodeDown",
        "high",
        "10m",
        for_="30s",  # and 30 s of each node: nodes that restart one after the other are no alert
        affected=Affected(
            one_each(
                f"""(
    max by (job, node) (max_over_time(redis_cluster_node_healthy{{{job}}}[30s])) == 0
    or
    max by (job, node) (max_over_time(redis_up{{{job}}}[30s])) == 0
  )""",
                "node",
            ),
            unit="",
            variable="node",
        ),
        expression=f"""
            (
              [affected]
              or on (job)
              {uncovered}
            )
            {redis_answers(t)}
        """,
        summary="A Redis node is down.",
        description="{{ if [worst] }}Nodes that do not answer, or that most other nodes see as failing: "
        "[affected]. Every node must be up.{{ else }}Slots of the cluster have no owner: "
        f'{{{{ with query `{uncovered}` }}}}{{{{ . | first | value | printf "%.0f" }}}}{{{{ end }}}} of '
        f"{SLOTS} have one. Keys in the others cannot be read or written.{{{{ end }}}}",
    )
    used = recent(f"redis_memory_used_bytes{{{job}}}")
    yield Alert(
        "HighMemoryUsage",
        "medium",
        "15m",
        for_="5m",
        affected=Affected(
            one_each(
                f"""(
    {used} / ({recent(f"redis_memory_max_bytes{{{job}}}")} > 0)
    or
    {used} / ({recent(f"redis_total_system_memory_bytes{{{job}}}")} > 0)
  ) > {number(t.redis_memory_ratio)}""",
                "node",
            ),
            unit="humanizePercentage",
            variable="node",
        ),
        summary="A Redis node is short of memory.",
        description="Nodes, and how much they use of their maxmemory, or of their host's memory where none "
        f"is set: [affected]. The threshold is {as_percent(t.redis_memory_ratio)}.",
    )


def _queues(t: AlertThresholds) -> Iterator[Alert]:
    job = f'job="{t.job}"'
    standing = f'{job}, issue="queue_standing_still"'
    unread = f"{recent(f'bullmq_up{{{job}}}')} == 0"
    down = Alert(
        "QueueSystemDown",
        "critical",
        "5m",
        for_="2m",
        affected=replace(issue(t, "queue_standing_still"), unit="humanizeDuration", variable="queue"),
        expression=f"""
            (
              [affected]
              or on (job)
              max by (job) ({recent(f"oxherd_issue{{{standing}}}")} == 1 or {unread})
            )
            {redis_answers(t)}
        """,
        summary="Queues are not processed.",
        description="{{ if [worst] }}Queues in which jobs could be taken and nothing takes them, and for how "
        "long: [affected].{{ else }}The queues cannot be read by "
        f"{{{{ range query `{unread}` }}}}{{{{ .Labels.instance }}}} {{{{ end }}}}now.{{{{ end }}}}",
    )
    counted = f"bullmq_job_failed_total{{{job}}}"
    # increase() lacks what a counter of less than an hour began with, and the exporter what it had counted
    # before a restart.
    increased = f'label_replace(increase({counted}[1h]), "counted_by", "events", "", "")'
    listed = f"({recent(f'bullmq_queue_failed_last_hour{{{job}}}')} unless {counted} offset 1h)"
    failed = Alert(
        "HighFailedJobs",
        "medium",
        "30m",
        for_="2m",
        combine="sum",
        affected=Affected(
            one_each_queue(
                f"""max by (job, prefix, queue) (
    {increased} > 0 or {listed} > 0
  )"""
            ),
            unit=_WHOLE,
            variable="queue",
        ),
        expression=f"[affected] > {t.failed_jobs}",
        summary="Many jobs have failed.",
        description=f"{{{{ $value | {_WHOLE} }}}} jobs failed in the last hour, by queue: [affected]. "
        f"The threshold is {t.failed_jobs}.{_most_frequent_reason(job)}",
    )
    for alert in (down, failed):
        yield alert.one_for_each() if t.per_queue else alert


def _most_frequent_reason(job: str) -> str:
    """A sentence with the reason for which most jobs of a queue failed in the last hour, if one is counted.
    What a new counter began with is no increase."""
    counted = f'bullmq_job_failed_reasons_total{{{job}, reason!="other"}}'
    new = f"({counted} unless {counted} offset 1h)"
    most = f"topk(1, max by (queue, reason) (increase({counted}[1h]) > 0 or {new}))"
    return (
        f"{{{{ range query `{most}` }}}} Most often, {{{{ .Value | {_WHOLE} }}}} of {{{{ .Labels.queue }}}}: "
        "{{ .Labels.reason }}{{ end }}"
    )


def _host(t: AlertThresholds) -> Iterator[Alert]:
    job = f'job="{t.job}"'
    yield Alert(
        "SystemMemoryLow",
        "high",
        "15m",
        for_="5m",
        by=("host",),
        affected=Affected(
            _of_host(
                job,
                f"{recent(f'host_memory_available_bytes{{{job}}}')}"
                f" / ({recent(f'host_memory_total_bytes{{{job}}}')} > 0)",
                f"< {number(t.host_memory_available_ratio)}",
                least=True,
            ),
            unit="humanizePercentage",
            least=True,
            variable="instance",
        ),
        summary="The host is short of memory.",
        description="Memory that is available on the host of these exporters: [affected]. "
        f"The threshold is {as_percent(t.host_memory_available_ratio)}.",
    )
    yield Alert(
        "HighSystemLoad",
        "medium",
        "20m",
        for_="10m",
        by=("host",),
        affected=Affected(
            _of_host(
                job,
                f"{recent(f'host_load1{{{job}}}')} / ({recent(f'host_machine_cpu_count{{{job}}}')} > 0)",
                f"> {number(t.host_load_per_core)}",
            ),
            variable="instance",
        ),
        summary="The host is overloaded.",
        description="The load for each core on the host of these exporters: [affected]. "
        f"The threshold is {number(t.host_load_per_core)}.",
    )


def _of_host(job: str, ratio: str, limit: str, *, least: bool = False) -> str:
    """The label `host` is the kernel's boot id, which all containers of a host share, else the instance."""
    identified = f"""label_replace(label_replace(
    (
      ({ratio}) * on (job, instance) group_left (boot_id) {recent(f"host_info{{{job}}}")}
      or on (job, instance)
      {ratio}
    ) {limit},
    "host", "$1", "instance", "(.+)"), "host", "$1", "boot_id", "(.+)"
  )"""
    return one_each(identified, "instance", by=("host",), least=least)


def _score(t: AlertThresholds) -> Alert:
    job = f'job="{t.job}"'
    return Alert(
        "HealthScoreCritical",
        "critical",
        "10m",
        for_="3m",
        affected=Affected(one_each(f"{recent(f'oxherd_health_penalty{{{job}}}')} > 0", "issue")),
        expression=f"""
            min by (job) (
              {recent(f"oxherd_health_score{{{job}}}")}
              unless on (job, instance) {recent(f"bullmq_up{{{job}}}")} == 0
            ) < {number(t.health_score)}
            {redis_answers(t)}
        """,
        summary="The health score is critical.",
        description="The health score is {{ $value | humanize }} of 100, by the points of each issue: "
        f"[affected]. The threshold is {number(t.health_score)}.",
    )


def oxherd(thresholds: AlertThresholds) -> str:
    """The text of oxherd.yml."""
    return rules_yaml(group("oxherd", alert_rules(eight(thresholds), thresholds)))
