"""A plan by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scaler.config.settings import TargetSettings
from scaler.plan.demand import HourOfWeek
from scaler.plan.make import TargetPlan
from scaler.plan.promise import Bounds, Slo
from scaler.plan.recording import LongestRuns

SECRET = "top-secret-value"
PROCESSES = {"command": ["node"], "environment": {"TOKEN": SECRET}, "grace_seconds": 20}


def made_plan(target: TargetSettings, **changed: Any) -> TargetPlan:
    """Of two weeks, of which two hours are known."""
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


def target_with(**more: Any) -> TargetSettings:
    """A target of one queue, with these settings too."""
    return TargetSettings.model_validate({"name": "mailer", "queues": ["mail"], **more})
