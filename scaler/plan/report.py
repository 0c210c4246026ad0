"""A plan as JSON data."""

from __future__ import annotations

from typing import Any

from scaler.config.settings import PolicySettings
from scaler.plan.demand import HOURS_OF_WEEK
from scaler.plan.make import TargetPlan
from scaler.plan.paste import planned_keys
from scaler.plan.promise import Bounds


def plan_data(plan: TargetPlan, policy: PolicySettings, price: float | None) -> dict[str, Any]:
    """JSON data: seconds, shares from 0 to 1, worker-hours and price of a week; null: not known."""
    return {
        "target": plan.target.name,
        "recorded_hours": plan.recorded,
        "jobs": plan.jobs,
        "slo_seconds": plan.bounds.slo.seconds,
        "within": plan.bounds.slo.within,
        "kept": plan.bounds.kept,
        "settings": planned_keys(plan, policy),
        "concurrency": {
            "jobs": plan.concurrency,
            "measured": plan.measured,
            "enough": plan.fitting,
        },
        "grace_seconds": plan.grace,
        "run_p99_seconds": None if plan.runs is None else plan.runs.seconds,
        "slos": [_bounds_data(bounds, price) for bounds in plan.by_slo],
        "fixed": {
            "workers": plan.fixed_workers,
            "worker_hours": plan.fixed_hours,
            "price": price_of(plan.fixed_hours, price),
        },
        "by_hour": {"worker_hours": plan.scheduled_hours, "price": price_of(plan.scheduled_hours, price)},
        "hours": [_hour_data(plan, number) for number in range(HOURS_OF_WEEK)],
        "notes": list(plan.notes),
    }


def _bounds_data(bounds: Bounds, price: float | None) -> dict[str, Any]:
    return {
        "slo_seconds": bounds.slo.seconds,
        "kept": bounds.kept,
        "min_workers": bounds.min_workers,
        "max_workers": bounds.max_workers,
        "over_slo": bounds.over,
        "wait_p99_seconds": bounds.p99,
        "worker_hours": bounds.worker_hours,
        "price": price_of(bounds.worker_hours, price),
        "starts": bounds.starts,
    }


def _hour_data(plan: TargetPlan, number: int) -> dict[str, Any]:
    hour = plan.hours.get(number)
    return {
        "hour": number,
        "weeks": hour.weeks if hour else 0,
        "jobs_per_second": hour.rate if hour else None,
        "busy_slots": hour.busy if hour else None,
        "workers": hour.workers if hour else None,
    }


def price_of(worker_hours: float, price: float | None) -> float | None:
    """None where no price of a worker-hour is given."""
    return None if price is None else worker_hours * price
