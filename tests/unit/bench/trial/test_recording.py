from __future__ import annotations

from dataclasses import replace

import pytest

from bench.programs import JobTimes
from bench.trial.recording import COLUMNS, Look, Recording, changes, row, summary_of
from bench.trial.scenarios import Disturbance, Plant, Scenario

SCENARIO = Scenario("small", "", 1.0, 1.0, (), seconds=100, lead=20)


def look(at: float, requested: int, reason: str = "load") -> Look:
    return Look(at, at, 0, 0, requested, requested, reason, reason, {})


RECORDING = Recording(
    SCENARIO,
    Plant(slo=20.0, concurrency=2),
    (JobTimes(-10, 30, 40), JobTimes(0, 10, 20), JobTimes(50, 75, 85), JobTimes(90, 91, 111)),
    (look(-5, 1), look(10, 3, "queue"), look(11, 3, "kept"), look(60, 2, "surplus")),
    ((-20, None), (10, 60), (15, None), (-30, -10)),
)


def test_jobs_of_the_lead_are_not_judged_and_work_counts_until_no_more_jobs_come() -> None:
    total = summary_of(RECORDING)
    assert (total.jobs, total.late, total.longest) == (3, 1, 25)
    assert total.worker_seconds == 100 + 50 + 85
    assert total.least == (10 + 10 + 10 + 9) / 2
    assert (total.starts, total.most_workers) == (2, 3)


def test_the_time_of_a_pause_counts_only_in_brackets() -> None:
    paused = replace(RECORDING, scenario=replace(SCENARIO, disturbances=(Disturbance("pause", 45, 70),)))
    total = summary_of(paused)
    assert (total.late, total.late_takeable, total.longest_takeable) == (1, 0, 10)
    cells = dict(zip(COLUMNS, row(paused), strict=True))
    assert cells["over the SLO"] == "0.00 % (33.3 %)"
    assert cells["longest wait"] == "10.0 s (25.0 s)"
    assert dict(zip(COLUMNS, row(RECORDING), strict=True))["over the SLO"] == "33.33 %"


def test_a_pause_does_not_count_for_a_job_that_waited_before_it() -> None:
    scenario = replace(SCENARIO, disturbances=(Disturbance("pause", 45, 75),))
    waiting = replace(RECORDING, scenario=scenario, jobs=(JobTimes(40, 80, 90),))
    total = summary_of(waiting)
    assert (total.longest, total.longest_takeable) == (40, 10)


def test_a_change_has_the_decision_that_made_it() -> None:
    assert [
        (before.requested, after.requested, after.reason) for before, after in changes(RECORDING.looks)
    ] == [
        (1, 3, "queue"),
        (3, 2, "surplus"),
    ]


def test_the_cost_is_relative_to_the_work_on_full_workers() -> None:
    cells = dict(zip(COLUMNS, row(RECORDING), strict=True))
    assert float(cells["by the least possible"]) == pytest.approx(235 / 19.5, abs=0.01)
