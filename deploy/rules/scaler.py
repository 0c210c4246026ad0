"""Opt-in alerts on the scaler, from its own series, for those who run it."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.rules.affected import Affected, one_each, recent
from deploy.rules.rule import Alert, Severity, alert_rules, group, rules_yaml
from deploy.rules.thresholds import AlertThresholds


def process_alerts(t: AlertThresholds) -> Iterator[Alert]:
    """On the process: is there one, does one lead, does the leader decide?"""
    job = f'job="{t.scaler_job}"'
    yield Alert(
        "OxherdScalerDown",
        "high",
        "10m",
        for_="1m",
        affected=Affected(one_each(f"up{{{job}}} == 0", "instance"), unit=""),
        expression=f"[affected]\nor on (job)\nabsent(up{{{job}}})",
        summary="The scaler is down.",
        description="Prometheus cannot scrape {{ if [worst] }}[affected]{{ else }}any scaler of job "
        "{{ $labels.job }}{{ end }}. Workers stay as they are.",
    )
    yield Alert(
        "OxherdScalerNoLeader",
        "high",
        "10m",
        for_="2m",
        expression=f"max by (job) ({recent(f'oxherd_scaler_leader{{{job}}}')}) == 0",
        summary="No scaler is the leader.",
        description="Scalers run, and none of them may act: no target is scaled.",
    )
    yield Alert(
        "OxherdScalerStuck",
        "high",
        "10m",
        for_="1m",
        affected=Affected(
            one_each(
                f"""(
    time() - {recent(f"oxherd_scaler_last_step_timestamp_seconds{{{job}}}")} > {t.scaler_step_seconds:g}
    and on (job, instance) {recent(f"oxherd_scaler_leader{{{job}}}")} == 1
  )""",
                "instance",
            ),
            unit="humanizeDuration",
        ),
        summary="The scaler does not decide.",
        description="Leaders, and how long ago their last step was: [affected]. "
        f"The threshold is {t.scaler_step_seconds:g} s.",
    )
    yield Alert(
        "OxherdScalerSettingsRefused",
        "medium",
        "30m",
        for_="5m",
        affected=Affected(
            one_each(
                f"{recent(f'oxherd_scaler_config_last_reload_successful{{{job}}}')} == 0",
                "instance",
            ),
            unit="",
        ),
        summary="The scaler's settings were changed and cannot be used.",
        description="Scalers that go on with the settings of before, and would not start again: [affected].",
    )


def target_alerts(t: AlertThresholds) -> Iterator[Alert]:
    """On what it scales; not while scaling is switched off, nor in the shadow."""
    yield _condition(
        t,
        "OxherdScalerMetricsStale",
        "MetricsStale",
        summary="The scaler has no current metrics.",
        description="Targets that stay as they are, as metrics of a queue are missing or old: [affected].",
    )
    yield _condition(
        t,
        "OxherdScalerContested",
        "Contested",
        summary="Something else scales a target.",
        description="Targets that are left alone, as another controller changes their number: [affected].",
    )
    yield _condition(
        t,
        "OxherdScalerTargetFailing",
        "TargetNotFound|Forbidden",
        summary="The scaler cannot scale a target.",
        description="Targets that do not exist, or that the scaler may not change: [affected].",
    )
    yield _condition(
        t,
        "OxherdScalerCrashLoop",
        "CrashLoop",
        summary="Workers crash as they start.",
        description="Targets whose workers end again and again: [affected].",
    )
    yield _condition(
        t,
        "OxherdScalerPolicyInvalid",
        "PolicyInvalid",
        severity="medium",
        cooldown="30m",
        summary="A policy was changed and cannot be used.",
        description="Targets that are scaled by the policy of before, or after a restart not at all: "
        "[affected].",
    )
    job = f'job="{t.scaler_job}"'
    yield Alert(
        "OxherdScalerAtMaximum",
        "medium",
        "30m",
        for_="5m",
        affected=Affected(
            one_each(
                f"""(
    {recent(f"oxherd_scaler_wait_estimate_seconds{{{job}}}")}
    > on (job, instance, target) {recent(f"oxherd_scaler_wait_slo_seconds{{{job}}}")}
    and on (job, instance, target) {recent(f'oxherd_scaler_condition{{{job}, condition="AtMax"}}')} == 1
    unless on (job, instance, target) {_shadow(job)} == 1
  )""",
                "target",
            ),
            unit="humanizeDuration",
        ),
        summary="A target needs more workers than it may have.",
        description="Targets at their maximum, and how long a job that arrives now will wait, which is over "
        "their SLO: [affected].",
    )


def _shadow(job: str) -> str:
    """1 for a target in the shadow: what would become of it is nobody's emergency."""
    return recent(f'oxherd_scaler_condition{{{job}, condition="Shadowing"}}')


def _condition(
    t: AlertThresholds,
    name: str,
    condition: str,
    *,
    summary: str,
    description: str,
    severity: Severity = "high",
    cooldown: str = "15m",
) -> Alert:
    job = f'job="{t.scaler_job}"'
    series = recent(f'oxherd_scaler_condition{{{job}, condition=~"{condition}"}}')
    return Alert(
        name,
        severity,
        cooldown,
        for_="5m",
        affected=Affected(
            one_each(
                f"""(
    {series} == 1
    unless on (job, instance) {recent(f"oxherd_scaler_enabled{{{job}}}")} == 0
    unless on (job, instance, target) {_shadow(job)} == 1
  )""",
                "target",
            ),
            unit="",
        ),
        summary=summary,
        description=description,
    )


def oxherd_scaler(t: AlertThresholds) -> str:
    """The text of oxherd-scaler.yml."""
    alerts = [*process_alerts(t), *target_alerts(t)]
    return rules_yaml(group("oxherd-scaler", alert_rules(alerts, t, t.scaler_job)))
