"""`scaling plan`: the workers of the next week, from the recorded ones; printed, and plotted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Final, NamedTuple

import click

from scaler.backtest.arrivals import NothingRecordedError
from scaler.backtest.report import check_plot
from scaler.commands.week_table import plan_table
from scaler.config.policy_layers import resolve
from scaler.config.settings import ScalerSettings, TargetSettings
from scaler.plan.demand import HOUR_SECONDS, WEEK_SECONDS
from scaler.plan.make import TargetPlan, make_plan
from scaler.plan.paste import settings_text
from scaler.plan.picture import plot_plans
from scaler.plan.promise import Conditions
from scaler.plan.recording import LongestRuns, read_longest_runs, read_weeks
from scaler.plan.report import plan_data
from service.clock import now
from service.commands.console import make_console, print_json
from service.config.load import ConfigError
from service.outcome import UnreadableError

_LEAST_STEP: Final = 15.0
_MOST_STEP: Final = 900.0
_OTHER_SLOS: Final = (0.25, 0.5, 2.0, 4.0)


class PlanOptions(NamedTuple):
    """`weeks` to look back, in steps of `step` seconds; the SLO in seconds (None: the target's) for the share
    `within` of the jobs; other SLOs (None: parts and multiples of it); the price of a worker-hour; seconds
    until a new worker is ready, from and to, and between two scrapes."""

    weeks: int
    step: float
    slo: float | None
    within: float
    others: tuple[float, ...] | None
    price: float | None
    start: tuple[float, float]
    scrape: float


def show_plan(
    settings: ScalerSettings,
    targets: Sequence[TargetSettings],
    options: PlanOptions,
    *,
    picture: str | None,
    only_settings: bool,
    as_json: bool,
    notify: Callable[[str], None],
) -> bool:
    """Print the plans of `targets`; whether each has one, and it keeps its SLO. `notify` gets a line of each
    that has none, beside others.

    Raises ConfigError, UnreadableError, NothingRecordedError: not one has a plan.
    """
    if not _LEAST_STEP <= options.step <= _MOST_STEP:
        why = f"should be {_LEAST_STEP:g} s to {_MOST_STEP:g} s"
        raise ConfigError("--step", f"{options.step:g}s", "command line", why)
    if picture:
        check_plot(picture)
    end = now() // HOUR_SECONDS * HOUR_SECONDS
    plans: list[TargetPlan] = []
    without: list[NothingRecordedError] = []
    for target in targets:
        try:
            planned = plan_of(settings, target, options, end=end)
        except NothingRecordedError as error:
            without.append(error)
            continue
        plans.append(planned)
        policy = resolve(settings, target)
        if as_json:
            print_json(plan_data(planned, policy, options.price))
        elif not only_settings:
            make_console().print(plan_table(planned, options.price))
    if not plans:
        raise without[0]
    for reason in without:
        notify(str(reason))
    if not as_json:
        text = settings_text([(planned, resolve(settings, planned.target)) for planned in plans])
        click.echo(text if only_settings else f"settings:\n{text}", nl=False)
    if picture:
        plot_plans(plans, picture, options.price)
    return not without and all(planned.bounds.kept for planned in plans)


def plan_of(
    settings: ScalerSettings, target: TargetSettings, options: PlanOptions, *, end: float
) -> TargetPlan:
    """The plan from what Prometheus has until `end` (unix s, a full hour).

    Raises UnreadableError and NothingRecordedError.
    """
    begin = end - options.weeks * WEEK_SECONDS
    policy = resolve(settings, target)
    points = read_weeks(settings, target, begin=begin, end=end, step=options.step)
    slo = options.slo or min(policy.wait_slo_seconds, *target.queue_slo_seconds.values(), inf)
    others = options.others
    if others is None:
        others = tuple(slo * factor for factor in _OTHER_SLOS)
    try:
        return make_plan(
            target,
            policy,
            points,
            step=options.step,
            runs=_longest_runs(settings, target, begin, end),
            within=options.within,
            slo_seconds=slo,
            other_slos=[other for other in dict.fromkeys(others) if other != slo],
            conditions=Conditions(options.start, settings.interval_seconds, options.scrape),
        )
    except NothingRecordedError as error:
        raise NothingRecordedError(f"{target.name}: {error}") from None


def _longest_runs(
    settings: ScalerSettings, target: TargetSettings, begin: float, end: float
) -> LongestRuns | None:
    """None too where Prometheus does not answer that: the plan goes on without it, and says so."""
    try:
        return read_longest_runs(settings, target, begin=begin, end=end)
    except UnreadableError:
        return None
