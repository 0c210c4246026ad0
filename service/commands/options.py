"""What the commands of both processes share: options, errors, exit codes. Imports little, so that --help is
quick."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from math import isnan
from typing import Any, Final, NoReturn, TypeVar

import click

from service.units import printable_lines

F = TypeVar("F", bound=Callable[..., Any])

ERROR: Final = 2
INTERRUPTED: Final = 130
CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_WATCH_SECONDS: Final = "5"


def note(program: str, message: str) -> None:
    """A line on standard error, so that the output can be piped into another program."""
    click.echo(f"{program}: {printable_lines(message)}", err=True)
    sys.stderr.flush()


def fail(program: str, message: str) -> NoReturn:
    """One line on standard error, and exit code 2."""
    note(program, message)
    sys.exit(ERROR)


def fail_for(program: str, error: Any, *, every: bool) -> NoReturn:
    """One line for a ConfigError, or with `every` one for each that is known, and exit code 2."""
    if every:
        for other in error.more:
            note(program, str(other))
    fail(program, str(error))


def show_notices(program: str, notices: Iterable[object]) -> None:
    """A line for each, as a warning."""
    for notice in notices:
        note(program, f"warning: {notice}")


def version_option(program: str) -> Callable[[F], F]:
    """--version."""
    return click.version_option(package_name="oxherd", prog_name=program, message="oxherd %(version)s")


def listen_option(variable: str, default: str) -> Callable[[F], F]:
    """--listen HOST:PORT."""
    return click.option(
        "--listen", metavar="HOST:PORT", help=f"Address to serve on.  [{variable}; {default}]"
    )


def config_option(variable: str) -> Callable[[F], F]:
    """--config FILE."""
    return click.option("--config", metavar="FILE", help=f"YAML file with settings.  [{variable}]")


def check_options(command: F) -> F:
    """--check-config and --print-config of a `start` command."""
    printing = click.option(
        "--print-config", is_flag=True, help="Print the resulting settings, with secrets hidden, and exit."
    )
    checking = click.option("--check-config", is_flag=True, help="Check the settings and exit.")
    return checking(printing(command))


def watch_option(command: F) -> F:
    """--watch [SECONDS]."""
    return click.option(
        "--watch",
        metavar="[SECONDS]",
        type=click.FloatRange(min=0.1, max=86400),
        callback=reject_nan,
        is_flag=False,
        flag_value=_WATCH_SECONDS,
        help=f"Repeat every {_WATCH_SECONDS} seconds, or as often as given.",
    )(command)


def json_option(command: F) -> F:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, one line each time.")(command)


def print_config(settings: Any) -> None:
    """The settings as YAML, secrets hidden."""
    import yaml

    from service.config.load import masked

    click.echo(yaml.safe_dump(masked(settings), sort_keys=False, allow_unicode=True), nl=False)


def reject_nan(_: click.Context, __: click.Parameter, number: float | None) -> float | None:
    """A callback of an option that is a number: nan is in every range."""
    if number is not None and isnan(number):
        raise click.BadParameter("not a number")
    return number
