"""Opt-in alerts and recording rules: a dead man's switch, the exporter itself, its conditions, objectives."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.rules.affected import Affected, one_each, recent
from deploy.rules.burn import budgets, burning, counts, ratios
from deploy.rules.conditions import condition_alerts
from deploy.rules.rule import Alert, alert_rules, group, rules_yaml
from deploy.rules.thresholds import AlertThresholds


def watchdog(t: AlertThresholds) -> Alert:
    """Fires always: whoever receives it notices when it stops."""
    return Alert(
        "OxherdWatchdog",
        "none",
        "",
        for_="0s",
        expression=f'label_replace(vector(1), "job", "{t.job}", "", "")',
        summary="Alerts are delivered.",
        description="This alert fires always. If it stops arriving, Prometheus, Alertmanager or the way "
        "from them to you is broken, and no other alert would arrive.",
    )


def exporter_alerts(t: AlertThresholds) -> Iterator[Alert]:
    """On the exporter: it cannot be scraped, has no series, cannot read a source, its threads stand still."""
    job = f'job="{t.job}"'
    missing = missing_shards(t.job)
    yield Alert(
        "OxherdExporterDown",
        "high",
        "10m",
        for_="1m",
        affected=Affected(one_each(f"up{{{job}}} == 0", "instance"), unit=""),
        expression=f"[affected]\nor on (job)\nabsent(up{{{job}}})\nor on (job)\n{missing}",
        summary="The exporter is down.",
        description="Prometheus cannot scrape {{ if [worst] }}[affected]{{ else }}"
        f"{{{{ with query `{missing}` }}}}{{{{ . | first | value }}}} of the shards of the queues"
        "{{ else }}any exporter of job {{ $labels.job }}{{ end }}{{ end }}: the other alerts cannot fire.",
    )
    yield Alert(
        "OxherdSeriesMissing",
        "high",
        "10m",
        for_="2m",
        affected=Affected(
            one_each(
                f"""(
    up{{{job}}} == 1
    unless on (job, instance) oxherd_collect_success{{{job}, source=~"redis|bullmq"}}
    unless on (job, instance) oxherd_monitoring_enabled{{{job}}} == 0
  )""",
                "instance",
            ),
            unit="",
            variable="instance",
        ),
        summary="The exporter serves no series of Redis.",
        description="Exporters that serve no series of Redis, not even that Redis is down: [affected]. "
        "Is it an exporter, or are its series dropped?",
    )
    yield Alert(
        "OxherdCollectFailing",
        "medium",
        "15m",
        for_="5m",
        affected=Affected(
            f"""\
max by (job, subject) (label_join(
  {recent(f'oxherd_collect_success{{{job}, source!~"redis|bullmq"}}')} == 0,
  "subject", " of ", "source", "instance"
))""",
            unit="",
        ),
        summary="A source cannot be read.",
        description="Sources that have not been read for 5 minutes: [affected].",
    )
    yield Alert(
        "OxherdBackgroundFailing",
        "high",
        "10m",
        for_="2m",
        affected=Affected(
            f"""\
max by (job, subject) (label_join(
  {recent(f"oxherd_background_task_up{{{job}}}")} == 0,
  "subject", " of ", "task", "instance"
))""",
            unit="",
        ),
        summary="A part of the exporter stands still.",
        description="Background tasks that have not succeeded for a minute longer than their interval: "
        "[affected]. What they find (queues, failovers, events) is out of date.",
    )
    yield Alert(
        "FailoverHappened",
        "medium",
        "10m",
        for_="0s",
        affected=Affected(
            one_each(f"increase(redis_cluster_failovers_total{{{job}}}[5m]) > 0", "shard"), unit=""
        ),
        summary="A replica became master.",
        description="Shards that have another master than 5 minutes ago: [affected].",
    )


def missing_shards(job: str) -> str:
    """How many shards of the queues no exporter has had for a minute, as a rollout starts one after the other
    again; absent where none is missing. Exporters that disagree on their number each lack the others'."""
    info, shards = f'oxherd_shard_info{{job="{job}"}}', f'oxherd_shards{{job="{job}"}}'
    return f"""\
max by (job) (
  max by (job, shards) ({shards} * on (job, instance) group_left (shards) {info})
  - on (job, shards)
  count by (job, shards) (count by (job, shards, shard) ({recent(info)}))
) > 0"""


def oxherd_extra(t: AlertThresholds) -> str:
    """The text of oxherd-extra.yml."""
    return rules_yaml(
        group("oxherd-watchdog", alert_rules([watchdog(t)], t)),
        group("oxherd-extra", alert_rules([*exporter_alerts(t), *condition_alerts(t)], t)),
        group("oxherd-objectives-counts", counts(t), interval="5m"),
        group("oxherd-objectives", [*ratios(t), *alert_rules(burning(t), t)], interval="1m"),
        group("oxherd-objectives-budgets", budgets(t), interval="5m"),
    )
