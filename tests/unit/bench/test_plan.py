from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.plan import COLUMNS, Trial, _gaps, planned_policy, table
from bench.plan_loads import WeeksOfJobs, loads_of
from scaler.backtest.plant import Report
from scaler.config.validation import load_scaler_settings
from scaler.plan.demand import WEEK_SECONDS
from tests.support.plans import made_plan, target_with

SETTINGS = "targets: [{name: mailer, queues: [mail], max_workers: 99, processes: {command: [node]}}]"


@pytest.mark.parametrize(
    ("recorded", "gaps"),
    [
        ([(0.0, 100.0)], []),
        ([(20.0, 100.0)], [(0.0, 20.0)]),
        ([(0.0, 40.0), (60.0, 100.0)], [(41.0, 60.0)]),
        ([(0.0, 40.0)], [(41.0, 101.0)]),
    ],
)
def test_what_was_not_recorded(recorded: list[tuple[float, float]], gaps: list[tuple[float, float]]) -> None:
    assert _gaps(recorded, 100.0) == gaps


def test_the_jobs_of_a_time() -> None:
    weeks = WeeksOfJobs("x", [1.0, 5.0, 9.0], [0.1, 0.5, 0.9], 1, [], [])
    assert weeks.jobs_between(5.0, 9.0) == ([0.0], [0.5])


def test_recorded_loads_need_the_folder_of_traces() -> None:
    generated, everything = loads_of(None), loads_of(Path("traces"))
    assert 0 < len(generated) < len(everything)
    assert not [name for name in generated if name.startswith(("nab", "nasa", "llm"))]


def test_the_policy_that_is_tried_is_that_of_the_printed_settings() -> None:
    settings = load_scaler_settings(SETTINGS, {}).model
    policy = planned_policy(SETTINGS, settings, made_plan(settings.targets[0]))
    assert (policy.min_workers, policy.max_workers, policy.worker_concurrency) == (2, 12, 4)


@pytest.mark.parametrize(("late", "kept"), [(0.0, "yes"), (0.0109, "yes"), (0.0111, "NO")])
def test_a_promise_is_kept_within_a_tenth(late: float, kept: str) -> None:
    plan = made_plan(target_with(processes={"command": ["node"]}))
    report = Report(1000, late, {0.5: 0.0, 0.95: 1.0, 0.99: 9.0}, 20.0, 3600.0, 1.0, 0, 0, 0, 0, 3600.0, ())
    trial = Trial("x", 2 * WEEK_SECONDS, plan, report, WEEK_SECONDS / 2)
    assert trial.worker_hours == 2.0
    [row] = table([trial]).splitlines()[2:]
    cells = dict(zip(COLUMNS, (cell.strip() for cell in row.strip("|").split("|")), strict=True))
    assert (cells["kept"], cells["planned from"], cells["after"]) == (kept, "2 weeks", "2")
    assert cells["late, planned"] == "0.40 %"
    assert trial.kept == (kept == "yes")
    strict = replace(plan, bounds=replace(plan.bounds, slo=replace(plan.bounds.slo, within=0.9)))
    assert trial._replace(plan=strict).kept
