"""Runs the whole system on this machine (`make demo`). Ctrl-C stops and removes what it started."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Final, NoReturn

import click

from deploy.demo.actions import ACTIONS
from deploy.demo.commands import RefusedError, action_table, find
from deploy.demo.control import NoDemoError, home_prefix, request_action
from deploy.demo.parts import PARTS, Demo
from deploy.demo.ports import Ports, PortsTakenError, check_free
from deploy.demo.run import run_demo
from deploy.demo.terminal import show
from lab.driver import DriverError
from lab.process import DiedError
from lab.programs import MissingProgramError
from lab.prometheus import PrometheusQueryError
from lab.redis import RedisError

DEFAULT_REDIS_PORT: Final = 7001
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

REPORTED_ERRORS: Final = (
    PortsTakenError,
    MissingProgramError,
    DiedError,
    DriverError,
    RedisError,
    PrometheusQueryError,
    TimeoutError,
)
"""Errors that are reported without a traceback."""


def stop_on_signals() -> None:
    """Turn the first signal into KeyboardInterrupt; later ones are ignored, so that clean-up completes."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in SIGNALS:
        signal.signal(number, stop)
    # Started in the background, the demo would otherwise be stopped as soon as something is typed.
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)


@click.group(help=__doc__, invoke_without_command=True)
@click.option(
    "--redis-port",
    default=DEFAULT_REDIS_PORT,
    show_default=True,
    help="the first of six; their bus is 10000 above",
)
@click.option("--exporter-port", default=9877, show_default=True)
@click.option("--prometheus-port", default=9090, show_default=True)
@click.option("--alertmanager-port", default=9093, show_default=True)
@click.option("--scaler-port", default=9878, show_default=True)
@click.option(
    "--faster",
    type=click.FloatRange(1, 200),
    default=30,
    show_default=True,
    help="divisor of the times of alerts and notifications",
)
@click.pass_context
def main(
    context: click.Context,
    *,
    redis_port: int,
    exporter_port: int,
    prometheus_port: int,
    alertmanager_port: int,
    scaler_port: int,
    faster: float,
) -> None:
    if context.invoked_subcommand:
        return
    ports = Ports(
        redis=redis_port,
        exporter=exporter_port,
        prometheus=prometheus_port,
        alertmanager=alertmanager_port,
        scaler=scaler_port,
    )
    stop_on_signals()
    try:
        check_free((port, part.name) for part in PARTS for port in part.ports(ports))
        with TemporaryDirectory(prefix=home_prefix(redis_port)) as directory:
            # The lab's temporary directories are created here too, so that one removal is enough.
            tempfile.tempdir = directory
            run_demo(Demo(ports=ports, home=Path(directory), divisor=faster, show=show))
    except REPORTED_ERRORS as error:
        sys.exit(f"demo: {error}")


@main.command("break", epilog="\b\nactions, and the alert that follows:\n" + action_table(ACTIONS))
@click.argument("action")
@click.option("--redis-port", type=int, help="the demo's --redis-port, if it was set")
@click.pass_context
def break_(context: click.Context, action: str, redis_port: int | None) -> None:
    """Break something in the running demo, or repair it.

    Exit codes: 0 done, 1 refused or failed, 2 unknown action or no demo.
    """
    port = redis_port or context.find_root().params["redis_port"]
    try:
        result = request_action(find(action, ACTIONS).name, redis_port=port)
    except (RefusedError, NoDemoError) as error:
        click.echo(f"demo: {error}", err=True)
        sys.exit(2)
    except TimeoutError as error:
        sys.exit(f"demo: {error}")
    click.echo(f"demo: {result.text}", err=not result.done)
    sys.exit(0 if result.done else 1)


if __name__ == "__main__":
    main()
