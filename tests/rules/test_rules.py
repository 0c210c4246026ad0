"""The shipped rules: they match thresholds.yml, and pass promtool's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deploy.rules import __main__ as rules
from deploy.rules.alerts import eight
from deploy.rules.thresholds import AlertThresholds
from lab.prometheus import promtool

pytestmark = pytest.mark.timeout(120)  # 4 s on an idle machine, 14 s on a busy one

HERE = Path(__file__).parent
SHIPPED = sorted(
    path
    for path in rules.rule_files(AlertThresholds.read(rules.RULE_FOLDER / "thresholds.yml"))
    if path.parent == rules.RULE_FOLDER
)
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
    alerts = eight(AlertThresholds.read(rules.RULE_FOLDER / "thresholds.yml"))
    assert {alert.name: (alert.severity, alert.cooldown) for alert in alerts} == NAMED
    assert not [alert.name for alert in alerts if alert.keep_firing_for]


def test_inhibiting_alerts_are_evaluated_first() -> None:
    [group] = yaml.safe_load((rules.RULE_FOLDER / "oxherd.yml").read_text())["groups"]
    wait = {rule["alert"]: rule["for"] for rule in group["rules"]}
    assert group["rules"][0]["alert"] == "RedisConnectionDown"
    assert wait["RedisConnectionDown"] == "30s"
    assert wait["QueueSystemDown"] == "2m"
    assert wait["HealthScoreCritical"] == "3m"
    assert "30s" not in [time for alert, time in wait.items() if alert != "RedisConnectionDown"]


def test_a_threshold_a_job_and_an_address_are_changed_in_one_place() -> None:
    shipped = AlertThresholds.read(rules.RULE_FOLDER / "thresholds.yml")
    changed = shipped.model_copy(
        update={
            "job": "mine",
            "failed_jobs": 7,
            "redis_memory_ratio": 0.65,
            "runbooks": "https://wiki.example",
        }
    )
    texts = "".join(rules.rule_files(changed).values())
    assert shipped.job not in texts.replace("name: oxherd", "").replace("oxherd_", "").replace(
        "/d/oxherd", ""
    )
    assert shipped.runbooks not in texts
    assert "> 7\n" in texts
    assert "the threshold is 65%." in texts
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


def test_the_page_lists_each_alert_with_its_times() -> None:
    page = (rules.RULE_FOLDER.parents[2] / "docs" / "alerts.md").read_text()
    for alert in eight(AlertThresholds.read(rules.RULE_FOLDER / "thresholds.yml")):
        [row] = [line for line in page.splitlines() if line.startswith(f"| {alert.name} |")]
        times = f"| {alert.for_} | {alert.cooldown} | {alert.severity} | {alert.cooldown} |"
        assert row.endswith(times), row
