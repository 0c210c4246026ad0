"""`scaling backtest`: recorded jobs replayed under these settings and others; printed, and plotted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import click

from scaler.backtest.report import check_plot, plot, policies_of, result_data, result_table, run_backtest
from scaler.config.settings import ScalerSettings, TargetSettings
from service.commands.console import make_console

_MAX_STEPS: Final = 100_000


class TooManyStepsError(Exception):
    """The text says how many there would be."""


def show_backtest(
    settings: ScalerSettings,
    targets: Sequence[TargetSettings],
    files: Sequence[str],
    *,
    since: float,
    step: float,
    start: tuple[float, float],
    picture: str | None,
    as_json: bool,
) -> None:
    """Print the results of `targets`, with the policies of `files` beside their own.

    `since`: seconds back, in steps of `step` seconds; `start`: seconds until a new worker is ready, from and
    to. Raises TooManyStepsError, ConfigError, UnreadableError, NothingRecordedError.
    """
    if since / step > _MAX_STEPS:
        raise TooManyStepsError(
            f"--step: {since / step:.0f} steps are too many: at most {_MAX_STEPS}; set a longer step"
        )
    if picture:
        check_plot(picture)
    results = [
        run_backtest(
            settings, target, policies_of(settings, target, files), since=since, step=step, start=start
        )
        for target in targets
    ]
    for result in results:
        if as_json:
            click.echo(json.dumps(result_data(result)))
        else:
            make_console().print(result_table(result))
    if picture:
        plot(results, picture)
