from __future__ import annotations

import pytest

from scaler.config.settings import PolicySettings
from scaler.plan.report import plan_data
from tests.support.plans import PROCESSES, made_plan, target_with


def test_the_data_of_a_plan() -> None:
    data = plan_data(made_plan(target_with(processes=PROCESSES)), PolicySettings(), 0.1)
    assert [slo["slo_seconds"] for slo in data["slos"]] == [7.5, 30.0]
    assert data["slos"][1]["price"] == pytest.approx(70.0)
    assert data["fixed"]["price"] == pytest.approx(134.4)
    assert data["settings"]["min_workers"] == 2
    assert [hour["workers"] for hour in data["hours"][:3]] == [3, 0, None]
    assert (
        plan_data(made_plan(target_with(processes=PROCESSES)), PolicySettings(), None)["fixed"]["price"]
        is None
    )
