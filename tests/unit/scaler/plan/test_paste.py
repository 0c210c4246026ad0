from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scaler.config.policy_layers import resolve
from scaler.config.settings import MOST_WORKERS, PolicySettings, ScalerSettings
from scaler.config.validation import load_scaler_settings
from scaler.plan.paste import settings_text
from scaler.plan.promise import Slo
from tests.support.plans import PROCESSES, SECRET, made_plan, target_with


def read(text: str, **more: Any) -> ScalerSettings:
    """As the scaler reads its settings, with the target pasted in."""
    return load_scaler_settings(yaml.safe_dump({**more, **yaml.safe_load(text)}), {}).model


def test_of_processes() -> None:
    mine = target_with(processes=PROCESSES, cooldown_seconds=5)
    text = settings_text([(made_plan(mine), PolicySettings())])
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
    mine = target_with(processes=PROCESSES | {"grace_seconds": 600})
    [pasted] = read(settings_text([(made_plan(mine), PolicySettings())])).targets
    assert pasted.processes is not None
    assert pasted.processes.grace_seconds == 600


def test_of_a_workload() -> None:
    mine = target_with(kubernetes={"name": "mailer", "namespace": "shop"}, prefix="app")
    text = settings_text([(made_plan(mine, fitting=2), PolicySettings())])
    assert "# in the pods of Deployment mailer: terminationGracePeriodSeconds: 90" in text
    assert "# 2 jobs at once get as much done" in text
    [pasted] = read(text).targets
    assert (pasted.kubernetes, pasted.prefix) == (mine.kubernetes, "app")


def test_without_run_times_there_is_no_grace_period() -> None:
    mine = target_with(kubernetes={"name": "mailer"})
    assert "terminationGrace" not in settings_text(
        [(made_plan(mine, runs=None, grace=None), PolicySettings())]
    )


def test_another_policy_and_its_fallback_are_replaced() -> None:
    mine = target_with(processes=PROCESSES, policy="threshold", fallback_workers=50)
    settings = ScalerSettings(targets=(mine,))
    after = read(settings_text([(made_plan(mine), resolve(settings, mine))]))
    policy = resolve(after, after.targets[0])
    assert (policy.policy, policy.fallback_workers) == ("wait_target", 12)


def test_what_is_not_kept_is_told_beside_it() -> None:
    mine = target_with(processes=PROCESSES)
    plan = made_plan(mine)
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
    mine = target_with(processes=PROCESSES, name=name, fallback_workers=fallback)
    plan = made_plan(mine, concurrency=concurrency, grace=grace)
    bounds = replace(plan.bounds, slo=Slo(slo, 0.9), min_workers=least, max_workers=most)
    policy = PolicySettings(fallback_workers=fallback)
    [pasted] = read(settings_text([(replace(plan, bounds=bounds), policy)])).targets
    assert (pasted.name, pasted.min_workers, pasted.max_workers) == (name, least, most)
    assert pasted.wait_slo_seconds == pytest.approx(slo)
