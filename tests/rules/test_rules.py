"""The shipped rules: they match thresholds.yml, and pass promtool's tests."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from deploy.rules import __main__ as rules
from deploy.rules.alerts import eight
from deploy.rules.conditions import CONDITION_ALERTS, ConditionAlert, condition_alerts
from deploy.rules.rule import alert_rules, group, rules_yaml
from deploy.rules.thresholds import AlertThresholds
from exporter.condition_table import CONDITION_TABLE
from exporter.conditions.finding import queue_subject
from exporter.snapshot.queues import QueueId
from lab.prometheus import promtool
from lab.scaled import duration_seconds
from service.units import readable

pytestmark = pytest.mark.timeout(180)  # the 30 days of extra.yml: 25 s on an idle machine

HERE = Path(__file__).parent
THRESHOLDS = AlertThresholds.read(rules.RULE_FOLDER / "thresholds.yml")
SHIPPED = sorted(path for path in rules.rule_files(THRESHOLDS) if path.parent == rules.RULE_FOLDER)
NAMED = {
    "RedisConnectionDown": ("critical", "5m"),
    "ClusterNodeDown": ("high", "10m"),
    "HighMemoryUsage": ("medium", "15m"),
    "QueueSystemDown": ("critical", "5m"),
    "HighFailedJobs": ("medium", "30m"),
    "SystemMemoryLow": ("high", "15m"),
    "HighSystemLoad": ("medium", "20m"),
    "HealthScoreCritical": ("critical", "10m"),
}


@pytest.mark.parametrize("path", sorted(HERE.glob("*.yml")), ids=lambda path: path.stem)
def test_promtools_tests_pass(path: Path) -> None:
    result = promtool("test", "rules", str(path))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_promtool_has_no_lint_error_in_the_files(path: Path) -> None:
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", str(path))
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_files_match_thresholds_yml() -> None:
    assert rules.main(["--check"]) == 0


def test_the_eight_have_their_severities_and_cooldowns_and_keep_firing_as_long() -> None:
    alerts = eight(THRESHOLDS)
    assert {alert.name: (alert.severity, alert.cooldown) for alert in alerts} == NAMED
    assert not [alert.name for alert in alerts if alert.keep_firing_for]


def test_inhibiting_alerts_are_evaluated_first() -> None:
    [group] = yaml.safe_load((rules.RULE_FOLDER / "oxherd.yml").read_text())["groups"]
    wait = {rule["alert"]: rule["for"] for rule in group["rules"] if "alert" in rule}
    assert next(iter(wait)) == "RedisConnectionDown"
    assert wait["RedisConnectionDown"] == "30s"
    assert wait["QueueSystemDown"] == "2m"
    assert wait["HealthScoreCritical"] == "3m"
    # A node has been down for 30 s already when the `for` of its alert begins.
    assert [alert for alert, time in wait.items() if time == "30s"] == [
        "RedisConnectionDown",
        "ClusterNodeDown",
    ]


def all_rules(thresholds: AlertThresholds = THRESHOLDS) -> list[dict[str, Any]]:
    texts = [text for path, text in rules.rule_files(thresholds).items() if path.parent == rules.RULE_FOLDER]
    groups = [group for text in texts for group in yaml.safe_load(text)["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def test_no_alert_keeps_a_label_of_its_members_but_the_two_of_a_host() -> None:
    """One series a job: whatever is affected stands in the description."""
    named = {alert.name: tuple(alert.by) for alert in eight(THRESHOLDS)}
    assert {name for name, by in named.items() if by == ("host",)} == {"SystemMemoryLow", "HighSystemLoad"}
    assert set(named.values()) == {("job",), ("host",)}


def test_the_rules_of_a_job_read_nothing_of_another_job() -> None:
    """Each Redis deployment has its own job and its own files. A host is the same in all of them."""
    for rule in all_rules():
        read = re.findall(r"oxherd:\w+:affected(\{job=\"[\w-]+\"\})?", rule["expr"])
        host = rule.get("alert") in {"SystemMemoryLow", "HighSystemLoad"}
        assert all(bool(matcher) != host for matcher in read), rule["expr"]


def test_what_an_alert_affects_is_recorded_before_it() -> None:
    order = [rule.get("alert") or rule["record"] for rule in all_rules()]
    for place, name in enumerate(order):
        if name.startswith("oxherd:"):
            assert order[place + 1] == name.split(":")[1]


def test_the_restart_of_prometheus_is_survived_by_every_for() -> None:
    """Prometheus restores an alert whose `for` is at least the flag's time, 30 s in docs/alerts.md."""
    short = [rule["alert"] for rule in all_rules() if 0 < duration_seconds(rule.get("for", "0s")) < 30]
    assert short == []


def test_every_alert_of_a_condition_exists_and_has_its_severity() -> None:
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in all_rules() if "alert" in rule}
    paged = {row.alert for row in CONDITION_TABLE.values() if row.alert}
    assert paged <= severities.keys()
    for alert in CONDITION_ALERTS:
        if (condition := CONDITION_TABLE.get(alert.condition)) is not None:
            assert (condition.alert, condition.severity) == (alert.name, alert.severity)


@pytest.mark.parametrize("alert", CONDITION_ALERTS, ids=lambda alert: alert.name)
def test_an_alert_of_a_condition_fires_after_its_for_and_ends(alert: ConditionAlert, tmp_path: Path) -> None:
    labels = f'job="oxherd", issue="{alert.condition}", source="bullmq", severity="{alert.severity}"'
    exporters = [f'{labels}, instance="{name}:9877"' for name in "ef"]
    waits = duration_seconds(alert.for_)
    begins, ends = 300.0, 300.0 + waits + 600.0
    there = f"0x19 1x{round((ends - begins) / 15)} 0x400"
    subjects = f"_x20 7x{round((ends - begins) / 15)} stale"
    series = [{"series": f"oxherd_issue{{{each}}}", "values": there} for each in exporters]
    series += [
        {"series": f'oxherd_issue_affected{{{each}, subject="{subject}"}}', "values": subjects}
        for each in exporters
        for subject in ("one", "two")
    ]
    kept = duration_seconds(alert.cooldown)
    firing = f'count(ALERTS{{alertname="{alert.name}", alertstate="firing"}})'
    moments = {
        begins - 15: False,
        begins + waits - 15: False,
        begins + waits + 15: True,
        ends + kept - 60: True,
        ends + kept + 120: False,
    }
    test = {
        "interval": "15s",
        "input_series": series,
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": f"{round(at)}s",
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
            for at, fires in moments.items()
        ],
    }
    other = {
        "interval": "15s",
        "input_series": [{"series": f"oxherd_issue{{{exporters[0]}}}", "values": "0x200"}],
        "promql_expr_test": [{"expr": firing, "eval_time": "40m", "exp_samples": []}],
    }
    [single] = [each for each in condition_alerts(THRESHOLDS) if each.name == alert.name]
    (tmp_path / "rules.yml").write_text(rules_yaml(group("alone", alert_rules([single], THRESHOLDS))))
    run_promtool(tmp_path, tmp_path / "rules.yml", [test, other])


def run_promtool(home: Path, rule_file: Path, tests: list[dict[str, Any]]) -> None:
    document = {"rule_files": [str(rule_file)], "evaluation_interval": "15s", "tests": tests}
    (home / "tests.yml").write_text(yaml.safe_dump(document))
    result = promtool("test", "rules", str(home / "tests.yml"))
    assert result.returncode == 0, result.stdout + result.stderr


def changed_rules(home: Path, name: str, **changes: Any) -> Path:
    thresholds = AlertThresholds.model_validate(THRESHOLDS.model_dump() | changes)
    [text] = [text for path, text in rules.rule_files(thresholds).items() if path.name == name]
    (home / name).write_text(text)
    return home / name


def test_per_queue_makes_an_alert_of_each_queue(tmp_path: Path) -> None:
    labels = 'job="oxherd", instance="e:9877", issue="queue_standing_still"'
    affected = f'oxherd_issue_affected{{{labels}, queue="mail", subject='
    failed = 'bullmq_queue_failed_last_hour{job="oxherd", instance="e:9877", prefix="bull", queue='
    test = {
        "interval": "15s",
        "input_series": [
            {"series": f"oxherd_issue{{{labels}}}", "values": "1x60"},
            {"series": f'{affected}"mail"}}', "values": "5x60"},
            {
                "series": f'oxherd_issue_affected{{{labels}, subject="shop:mail", queue="mail"}}',
                "values": "6x60",
            },
            {"series": f'{failed}"many"}}', "values": "101x60"},
            {"series": f'{failed}"few"}}', "values": "99x60"},
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname, subject) (ALERTS{alertstate="firing"})',
                "eval_time": "10m",
                "exp_samples": [
                    {"labels": f'{{alertname="{alert}", subject="{subject}"}}', "value": 1}
                    for alert, subject in (
                        ("QueueSystemDown", "mail"),
                        ("QueueSystemDown", "shop:mail"),
                        ("HighFailedJobs", "many"),
                    )
                ],
            }
        ],
        "alert_rule_test": [
            {
                "alertname": "HighFailedJobs",
                "eval_time": "10m",
                "exp_alerts": [
                    {
                        "exp_labels": {
                            "severity": "medium",
                            "cooldown": "30m",
                            "job": "oxherd",
                            "subject": "many",
                            "queue": "many",
                        },
                        "exp_annotations": {
                            "summary": "Many jobs have failed.",
                            "description": "101 jobs failed in the last hour, by queue: many (101). "
                            "The threshold is 100.",
                            "runbook_url": "https://oxherd.example/docs/runbooks/HighFailedJobs.md",
                            "dashboard_url": "https://grafana.example/d/oxherd?var-queue=many",
                        },
                    }
                ],
            }
        ],
    }
    run_promtool(tmp_path, changed_rules(tmp_path, "oxherd.yml", per_queue=True), [test])


def test_the_first_pattern_that_matches_a_queue_has_its_objective(tmp_path: Path) -> None:
    changes = [
        {"queues": "report-.*", "wait_seconds": 300, "wait_objective": 0.9},
        {"queues": "report-x|loose", "failure_objective": 0.5},
    ]
    path = changed_rules(tmp_path, "oxherd-extra.yml", objectives=changes)
    series = []
    for queue in ("report-x", "loose", "strict"):
        labels = f'job="oxherd", instance="e:9877", prefix="bull", queue="{queue}"'
        series += [
            {"series": f"bullmq_job_wait_seconds_count{{{labels}}}", "values": "0+10x100"},
            {"series": f'bullmq_job_wait_seconds_bucket{{{labels}, le="10"}}', "values": "0+5x100"},
            {"series": f'bullmq_job_wait_seconds_bucket{{{labels}, le="300"}}', "values": "0+8x100"},
            {"series": f"bullmq_job_failed_total{{{labels}}}", "values": "0+5x100"},
            {"series": f"bullmq_job_completed_total{{{labels}}}", "values": "0+5x100"},
        ]
    expected: dict[str, dict[str, float]] = {
        "round(queue:bullmq_job_wait_slow:ratio_rate5m, 0.01)": {
            "report-x": 0.2,
            "loose": 0.5,
            "strict": 0.5,
        },
        "round(queue:bullmq_job_wait_slow:budget_left30d, 0.01)": {
            "report-x": -1,
            "loose": -49,
            "strict": -49,
        },
        "round(queue:bullmq_job_failed:budget_left30d, 0.01)": {"report-x": -49, "loose": 0, "strict": -49},
    }
    test = {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": "1h",
                "exp_samples": [
                    {"labels": f'{{job="oxherd", prefix="bull", queue="{queue}"}}', "value": value}
                    for queue, value in values.items()
                ],
            }
            for expression, values in expected.items()
        ],
    }
    run_promtool(tmp_path, path, [test])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"objectives": [{"queues": "mail("}]}, "objectives.0.queues"),
        ({"objectives": [{"queues": 'mail"'}]}, "objectives.0.queues"),
        ({"objectives": [{"queues": "mail", "wait": 3}]}, "objectives.0.wait"),
        ({"redis_success_ratio": 1.5}, "redis_success_ratio"),
    ],
)
def test_a_wrong_threshold_is_refused_with_its_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError) as refused:
        AlertThresholds.model_validate(THRESHOLDS.model_dump() | changes)
    assert [".".join(str(part) for part in error["loc"]) for error in refused.value.errors()] == [named]


def test_a_threshold_a_job_and_an_address_are_changed_in_one_place() -> None:
    shipped = THRESHOLDS
    changed = shipped.model_copy(
        update={
            "job": "mine",
            "failed_jobs": 7,
            "redis_memory_ratio": 0.65,
            "runbooks": "https://wiki.example",
        }
    )
    texts = "".join(rules.rule_files(changed).values())
    assert f'"{shipped.job}"' not in texts
    assert shipped.runbooks not in texts
    assert "> 7\n" in texts
    assert "The threshold is 65%." in texts
    assert "https://wiki.example/HighFailedJobs.md" in texts


def test_check_names_a_stale_file_and_wrong_arguments_print_the_usage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (rules.RULE_FOLDER / "thresholds.yml").read_text()
    (tmp_path / "thresholds.yml").write_text(text)
    monkeypatch.setattr(rules, "RULE_FOLDER", tmp_path)
    assert rules.main(["--check"]) == 1
    assert "oxherd.yml differs from thresholds.yml" in capsys.readouterr().err
    assert rules.main(["--write"]) == 0
    assert rules.main(["--check"]) == 0
    assert rules.main([]) == 2
    assert "--check | --write" in capsys.readouterr().err


@pytest.mark.parametrize(
    "rule", [rule for rule in all_rules() if "alert" in rule], ids=lambda rule: rule["alert"]
)
def test_the_page_lists_each_alert_with_its_times(rule: dict[str, Any]) -> None:
    page = (rules.RULE_FOLDER.parents[2] / "docs" / "alerts.md").read_text()
    [row] = [line for line in page.splitlines() if line.startswith(f"| {rule['alert']} |")]
    labels = rule["labels"]
    kept = rule.get("keep_firing_for", "-")
    assert row.endswith(f"| {rule['for']} | {kept} | {labels['severity']} | {labels.get('cooldown', '-')} |")


ODD = st.text(st.sampled_from("ab:\"' {}\\%$`&+?#/\u00e9\u961f\u0001"), min_size=1, max_size=8)


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(st.sets(st.tuples(st.sampled_from(("bull", "eu", "a:b")), ODD), min_size=4, max_size=8))
@example({("bull", "a:b"), ("a", "b"), ("bull", "bull:x"), ("bull", '{"}}')})
def test_a_link_finds_the_queue_whatever_its_name(tmp_path: Path, queues: set[tuple[str, str]]) -> None:
    """Of a condition and of counted jobs; what the subject is called is for people only."""
    of_issue = {"job": "oxherd", "instance": "e:9877", "issue": "queue_standing_still"}
    series: list[dict[str, str]] = [{"series": selector("oxherd_issue", of_issue), "values": "1x60"}]
    alerts: dict[str, list[dict[str, object]]] = {"QueueSystemDown": [], "HighFailedJobs": []}
    for prefix, name in sorted(queues):
        subject = queue_subject(QueueId(prefix, name))
        of_queue = {"prefix": readable(prefix), "queue": readable(name)}
        for metric, labels, value in (
            ("oxherd_issue_affected", of_issue | of_queue | {"subject": subject}, 9),
            ("bullmq_queue_failed_last_hour", {"job": "oxherd"} | of_queue, 101),
        ):
            series.append({"series": selector(metric, labels), "values": f"{value}x60"})
        for alert, told in (("QueueSystemDown", f"{subject} (9s)"), ("HighFailedJobs", f"{subject} (101)")):
            link = f"https://grafana.example/d/oxherd?var-queue={quote_plus(of_queue['queue'])}"
            labels = LABELS[alert] | {"job": "oxherd", "subject": subject, "queue": of_queue["queue"]}
            alerts[alert].append({"exp_labels": labels, "exp_annotations": annotations_of(alert, told, link)})
    test = {
        "interval": "15s",
        "input_series": series,
        "alert_rule_test": [
            {"alertname": alert, "eval_time": "10m", "exp_alerts": expected}
            for alert, expected in alerts.items()
        ],
    }
    run_promtool(tmp_path, changed_rules(tmp_path, "oxherd.yml", per_queue=True), [test])


LABELS = {
    "QueueSystemDown": {"severity": "critical", "cooldown": "5m"},
    "HighFailedJobs": {"severity": "medium", "cooldown": "30m"},
}


def annotations_of(alert: str, told: str, link: str) -> dict[str, str]:
    if alert == "HighFailedJobs":
        texts = (
            "Many jobs have failed.",
            f"101 jobs failed in the last hour, by queue: {told}. The threshold is 100.",
        )
    else:
        texts = (
            "Queues are not processed.",
            f"Queues in which jobs could be taken and nothing takes them, and for how long: {told}.",
        )
    runbook = f"https://oxherd.example/docs/runbooks/{alert}.md"
    return dict(
        zip(("summary", "description", "runbook_url", "dashboard_url"), (*texts, runbook, link), strict=True)
    )


def selector(metric: str, labels: Mapping[str, str]) -> str:
    """A series in PromQL's notation, in which a string is as in JSON."""
    return f"{metric}{{{','.join(f'{name}={json.dumps(value)}' for name, value in labels.items())}}}"
