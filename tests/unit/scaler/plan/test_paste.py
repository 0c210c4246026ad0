from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scaler.config.policy_layers import resolve
from scaler.config.settings import MOST_WORKERS, PolicySettings, ScalerSettings, TargetSettings
from scaler.config.validation import load_scaler_settings
from scaler.plan.demand import HourOfWeek
from scaler.plan.make import TargetPlan
from scaler.plan.paste import settings_text
from scaler.plan.promise import Bounds, Slo
from scaler.plan.recording import LongestRuns
from scaler.plan.report import plan_data, plan_table
from service.commands.console import make_console

SECRET = "top-secret-value"
PROCESSES = {"command": ["node"], "environment": {"TOKEN": SECRET}, "grace_seconds": 20}


def plan_of(target: TargetSettings, **changed: Any) -> TargetPlan:
    bounds = Bounds(Slo(30.0, 0.99), True, 2, 12, 0.004, 21.5, 700.0, 300.0)
    plan = TargetPlan(
        target=target,
        recorded=300,
        jobs=40_000.0,
        hours={0: HourOfWeek(2, 0.5, 4.0, 3), 1: HourOfWeek(2, 0.0, 0.0, 0)},
        bounds=bounds,
        others=(replace(bounds, slo=Slo(7.5, 0.99), kept=False, worker_hours=1100.0),),
        fixed_workers=8,
        fixed_hours=8 * 168.0,
        scheduled_hours=420.0,
        concurrency=4,
        measured=True,
        fitting=4,
        runs=LongestRuns("mail", 70.0, beyond=False),
        grace=90,
        notes=("one week was recorded",),
    )
    return replace(plan, **changed)


def target(**more: Any) -> TargetSettings:
    return TargetSettings.model_validate({"name": "mailer", "queues": ["mail"], **more})


def read(text: str, **more: Any) -> ScalerSettings:
    """As the scaler reads its settings, with the target pasted in."""
    return load_scaler_settings(yaml.safe_dump({**more, **yaml.safe_load(text)}), {}).model


def test_of_processes() -> None:
    mine = target(processes=PROCESSES, cooldown_seconds=5)
    text = settings_text([(plan_of(mine), PolicySettings())])
    assert SECRET not in text
    assert "# processes.environment is not shown" in text
    after = read(text)
    [pasted] = after.targets
    policy = resolve(after, pasted)
    assert (policy.min_workers, policy.max_workers, policy.worker_concurrency) == (2, 12, 4)
    assert (policy.wait_slo_seconds, policy.cooldown_seconds) == (30.0, 5)
    assert pasted.processes is not None
    assert (pasted.processes.command, pasted.processes.grace_seconds) == (("node",), 90)


def test_a_longer_grace_period_stays() -> None:
    mine = target(processes=PROCESSES | {"grace_seconds": 600})
    [pasted] = read(settings_text([(plan_of(mine), PolicySettings())])).targets
    assert pasted.processes is not None
    assert pasted.processes.grace_seconds == 600


def test_of_a_workload() -> None:
    mine = target(kubernetes={"name": "mailer", "namespace": "shop"}, prefix="app")
    text = settings_text([(plan_of(mine, fitting=2), PolicySettings())])
    assert "# in the pods of Deployment mailer: terminationGracePeriodSeconds: 90" in text
    assert "# 2 jobs at once get as much done" in text
    [pasted] = read(text).targets
    assert (pasted.kubernetes, pasted.prefix) == (mine.kubernetes, "app")


def test_without_run_times_there_is_no_grace_period() -> None:
    mine = target(kubernetes={"name": "mailer"})
    assert "terminationGrace" not in settings_text([(plan_of(mine, runs=None, grace=None), PolicySettings())])


def test_another_policy_and_its_fallback_are_replaced() -> None:
    mine = target(processes=PROCESSES, policy="threshold", fallback_workers=50)
    settings = ScalerSettings(targets=(mine,))
    after = read(settings_text([(plan_of(mine), resolve(settings, mine))]))
    policy = resolve(after, after.targets[0])
    assert (policy.policy, policy.fallback_workers) == ("wait_target", 12)


def test_what_is_not_kept_is_told_beside_it() -> None:
    mine = target(processes=PROCESSES)
    plan = plan_of(mine)
    text = settings_text([(replace(plan, bounds=replace(plan.bounds, kept=False)), PolicySettings())])
    assert "# no number of workers that was tried keeps the SLO of mailer" in text


@given(
    least=st.integers(0, MOST_WORKERS),
    more=st.integers(0, MOST_WORKERS),
    concurrency=st.integers(1, 1000),
    slo=st.floats(0.1, 1e6),
    grace=st.none() | st.integers(10, 86_400),
    name=st.text(min_size=1, max_size=20),
    fallback=st.none() | st.integers(0, MOST_WORKERS),
)
def test_what_is_printed_is_always_valid(
    least: int, more: int, concurrency: int, slo: float, grace: int | None, name: str, fallback: int | None
) -> None:
    most = max(1, min(MOST_WORKERS, least + more))
    mine = target(processes=PROCESSES, name=name, fallback_workers=fallback)
    plan = plan_of(mine, concurrency=concurrency, grace=grace)
    bounds = replace(plan.bounds, slo=Slo(slo, 0.9), min_workers=least, max_workers=most)
    policy = PolicySettings(fallback_workers=fallback)
    [pasted] = read(settings_text([(replace(plan, bounds=bounds), policy)])).targets
    assert (pasted.name, pasted.min_workers, pasted.max_workers) == (name, least, most)
    assert pasted.wait_slo_seconds == pytest.approx(slo)


# --- what else is shown ----------------------------------------------------------------------------------


def test_the_data_of_a_plan() -> None:
    data = plan_data(plan_of(target(processes=PROCESSES)), PolicySettings(), 0.1)
    assert [slo["slo_seconds"] for slo in data["slos"]] == [7.5, 30.0]
    assert data["slos"][1]["price"] == pytest.approx(70.0)
    assert data["fixed"]["price"] == pytest.approx(134.4)
    assert data["settings"]["min_workers"] == 2
    assert [hour["workers"] for hour in data["hours"][:3]] == [3, 0, None]
    assert plan_data(plan_of(target(processes=PROCESSES)), PolicySettings(), None)["fixed"]["price"] is None


def test_a_plan_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    make_console().print(plan_table(plan_of(target(processes=PROCESSES)), 0.1))
    shown = capsys.readouterr().out
    assert "mailer: 40,000 jobs in 300 recorded hours; 2 to 12 workers keep an SLO of 30 s for 99 %" in shown
    assert "jobs that a worker runs at once: 4, as measured" in shown
    assert "1 in 100 jobs of mail runs over 70 s: a grace period of 1 min 30 s" in shown
    [monday] = [line.split() for line in shown.splitlines() if line.split()[:1] == ["Mon"]]
    assert monday[1:] == ["3", "0", *["?"] * 22]
    [strict] = [line.split() for line in shown.splitlines() if line.lstrip().startswith("7.5 s")]
    assert strict == [
        "7.5",
        "s,",
        "not",
        "kept",
        "2",
        "12",
        "0.40",
        "%",
        "21.5",
        "s",
        "300",
        "1,100.0",
        "110.00",
    ]
    assert "30 s, planned" in shown
    assert "price" not in plan_text_without_price(capsys)


def test_it_is_in_the_language_of_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "id_ID.UTF-8")
    make_console().print(plan_table(plan_of(target(processes=PROCESSES)), 0.1))
    shown = capsys.readouterr().out
    assert "2 sampai 12 worker memenuhi SLO 30 s" in shown
    assert "7.5 s, tidak terpenuhi" in shown
    assert [line.split()[1] for line in shown.splitlines() if line.split()[:1] == ["Sen"]] == ["3"]


def plan_text_without_price(capsys: pytest.CaptureFixture[str]) -> str:
    make_console().print(plan_table(plan_of(target(processes=PROCESSES)), None))
    return capsys.readouterr().out
