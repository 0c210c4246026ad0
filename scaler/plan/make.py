"""The plan of a target: what was recorded, the bounds that keep an SLO, and what other SLOs take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scaler.backtest.arrivals import HistoryPoint, NothingRecordedError, limited_share, recorded_steps
from scaler.config.settings import PolicySettings, TargetSettings
from scaler.plan.demand import (
    HOUR_SECONDS,
    HOURS_OF_WEEK,
    WEEK_SECONDS,
    HourOfWeek,
    SlotUse,
    by_hour_of_week,
    fitting_concurrency,
    fitting_grace,
    measured_concurrency,
    recorded_hours,
    slot_use,
)
from scaler.plan.promise import (
    Bounds,
    Conditions,
    Replayed,
    Slo,
    bounds_for,
    week_to_replay,
    workers_of_hours,
)
from scaler.plan.recording import LongestRuns
from service.units import duration, percent, plain

_BUSIEST: Final = 24  # hours that are looked at for another SLO
_TWO_WEEKS: Final = 2 * HOURS_OF_WEEK - 24  # recorded hours; a day of them may lack
_LIMITED: Final = 0.02  # of the time; less is noise


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """`hours` by hour of the week (Monday 0:00 UTC is 0), without those of which nothing is known. Bounds of
    the SLO, and `others` of other SLOs. Worker-hours of a week: `fixed_hours` with a fixed number for the
    busiest hour, `scheduled_hours` with the number of each hour. `concurrency` of a worker as set, or as
    `measured`; `fitting` is what is enough. `grace` (s), None: run times are not known. `notes` are for
    people."""

    target: TargetSettings
    recorded: int
    jobs: float
    hours: Mapping[int, HourOfWeek]
    bounds: Bounds
    others: tuple[Bounds, ...]
    fixed_workers: int
    fixed_hours: float
    scheduled_hours: float
    concurrency: int
    measured: bool
    fitting: int
    runs: LongestRuns | None
    grace: int | None
    notes: tuple[str, ...]

    @property
    def by_slo(self) -> list[Bounds]:
        """Those of all SLOs, the strictest first."""
        return sorted((self.bounds, *self.others), key=lambda bounds: bounds.slo.seconds)


def make_plan(
    target: TargetSettings,
    policy: PolicySettings,
    points: Sequence[HistoryPoint],
    *,
    step: float,
    runs: LongestRuns | None,
    within: float,
    slo_seconds: float,
    other_slos: Sequence[float],
    conditions: Conditions,
) -> TargetPlan:
    """From the points of some weeks, `step` seconds apart, for an SLO of so many seconds that the share
    `within` of the jobs keeps, and others. Raises NothingRecordedError."""
    slo = Slo(slo_seconds, within)
    hours = recorded_hours(recorded_steps(points, step), step)
    if not any(hour.jobs > 0 for hour in hours):
        raise NothingRecordedError(
            "no jobs were recorded: is bullmq.events on, and was the exporter scraped?"
        )
    concurrency = policy.worker_concurrency or measured_concurrency(points)
    if concurrency is None:
        raise NothingRecordedError("worker_concurrency is neither set nor measured")
    workers = workers_of_hours(hours, slo, step=step, concurrency=concurrency)
    replayed = week_to_replay(hours, workers, step=step, concurrency=concurrency)
    planned = policy.model_copy(update={"policy": "wait_target", "worker_concurrency": concurrency})
    busiest = sorted(hours, key=lambda hour: hour.busy)[-_BUSIEST:]

    def bounds_of(wanted: Slo) -> Bounds:
        peak = max(workers_of_hours(busiest, wanted, step=step, concurrency=concurrency))
        peak = max(peak, *workers) if wanted == slo else peak
        return bounds_for(
            planned,
            wanted,
            replayed,
            conditions,
            floor=min(1, policy.min_workers),
            peak=peak,
            several_weeks=len(hours) >= _TWO_WEEKS,
        )

    of_week = by_hour_of_week(hours, workers)
    uses = slot_use(points) if len(target.queues) == 1 else []
    fitting = fitting_concurrency(uses, concurrency)
    notes = [
        *_recording_notes(len(hours), of_week, points, concurrency),
        *_replay_notes(replayed, len(hours), policy),
        *_run_time_notes(runs, uses, concurrency),
    ]
    return TargetPlan(
        target=target,
        recorded=len(hours),
        jobs=sum(hour.jobs for hour in hours),
        hours=of_week,
        bounds=bounds_of(slo),
        others=tuple(bounds_of(Slo(seconds, within)) for seconds in other_slos),
        fixed_workers=max(workers),
        fixed_hours=float(max(workers) * HOURS_OF_WEEK),
        scheduled_hours=sum(hour.workers for hour in of_week.values()) * HOURS_OF_WEEK / len(of_week),
        concurrency=concurrency,
        measured=policy.worker_concurrency is None,
        fitting=fitting,
        runs=runs,
        grace=None if runs is None else fitting_grace(runs.seconds),
        notes=tuple(notes),
    )


def _recording_notes(
    recorded: int, of_week: Mapping[int, HourOfWeek], points: Sequence[HistoryPoint], concurrency: int
) -> Iterator[str]:
    missing = HOURS_OF_WEEK - len(of_week)
    if missing:
        yield (
            f"less than a week was recorded: nothing is known of {missing} of the {HOURS_OF_WEEK} hours of "
            "the week, and nothing is planned for them"
        )
    elif recorded < _TWO_WEEKS:
        yield "one week was recorded: what changes from week to week is not known"
    limited = limited_share(points, concurrency)
    if (limited or 0.0) > _LIMITED:
        yield (
            f"jobs waited beside free slots for {percent(limited)} of the time, as behind a rate limit or a "
            "pause: the plan is without it"
        )


def _replay_notes(replayed: Replayed, recorded: int, policy: PolicySettings) -> Iterator[str]:
    if replayed.seconds < WEEK_SECONDS and replayed.hours < recorded:
        yield (
            f"a week has too many jobs to replay: {duration(replayed.seconds)} around the busiest hour stand "
            "for it"
        )
    missing = replayed.seconds / HOUR_SECONDS - replayed.hours
    if missing > 0:
        yield f"{missing:.0f} hours of what was replayed were not recorded: they are without jobs there"
    if policy.policy != "wait_target":
        yield f"policy {policy.policy} keeps no SLO: the settings are for wait_target"


def _run_time_notes(runs: LongestRuns | None, uses: Sequence[SlotUse], concurrency: int) -> Iterator[str]:
    fitting = fitting_concurrency(uses, concurrency)
    if fitting < concurrency:
        slower = uses[-1].run / uses[0].run
        yield (
            f"jobs run {plain(slower)} times as long with {uses[-1].jobs} beside each other as with "
            f"{uses[0].jobs}: {fitting} at once get as much done; lower it in the workers, then here"
        )
    if runs is None:
        yield "how long the slowest jobs run was not recorded, or not read: no grace period is proposed"
    elif runs.beyond:
        yield (
            f"1 in 100 jobs of {runs.queue} runs over {plain(runs.seconds)} s, the largest bound of the "
            "histogram: the grace period should be longer than its longest job"
        )
