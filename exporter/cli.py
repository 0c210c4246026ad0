"""`monitor`: start the exporter, or ask how things are. Commands import late, so that --help is quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from math import isnan
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from service.completion import add_completion

if TYPE_CHECKING:
    from exporter.settings import Settings
    from service.config.load import Loaded

F = TypeVar("F", bound=Callable[..., Any])

_ERROR: Final = 2
_INTERRUPTED: Final = 130
_WATCH_SECONDS: Final = "5"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="oxherd", prog_name="monitor", message="oxherd %(version)s")
def main() -> None:
    """FailoverWatcher a Redis deployment, the BullMQ queues in it and the host.

    Settings come from the environment (REDIS_URL ...) and from a YAML file; docs/settings.md lists them.
    """


@main.command()
@click.option("--listen", metavar="HOST:PORT", help="Address to serve on.  [EXPORTER_LISTEN; 0.0.0.0:9877]")
@click.option("--config", metavar="FILE", help="YAML file with settings.  [EXPORTER_CONFIG]")
@click.option("--check-config", is_flag=True, help="Say whether the settings can be used, and exit.")
@click.option(
    "--print-config", is_flag=True, help="Print the settings that result, secrets hidden, and exit."
)
def start(listen: str | None, config: str | None, *, check_config: bool, print_config: bool) -> None:
    """Run the exporter until SIGTERM or Ctrl-C."""
    loaded = _settings(config, listen)
    if print_config:
        _print_config(loaded.model)
    elif check_config:
        click.echo("the settings can be used")
    else:
        _serve(loaded)


def _is_a_time(_: click.Context, __: click.Parameter, seconds: float | None) -> float | None:
    """nan is in every range."""
    if seconds is not None and isnan(seconds):
        raise click.BadParameter("not a number of seconds")
    return seconds


def _asking(command: F) -> F:
    """The options of all commands that ask."""
    for option in (
        click.option(
            "--watch",
            metavar="[SECONDS]",
            type=click.FloatRange(min=0.1, max=86400),
            callback=_is_a_time,
            is_flag=False,
            flag_value=_WATCH_SECONDS,
            help=f"Again and again, every {_WATCH_SECONDS} seconds or as often as said.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON, one line a look."),
        click.option("--config", metavar="FILE", help="YAML file with settings.  [EXPORTER_CONFIG]"),
        click.option("--local", is_flag=True, help="Do not ask the running exporter: collect once, here."),
        click.option("--url", metavar="URL", help="The exporter.  [EXPORTER_URL; this machine, port 9877]"),
    ):
        command = option(command)
    return command


@main.command()
@_asking
def status(**options: Any) -> None:
    """The score, the state of every source, what is known.

    Exits 0 when healthy, 1 at a warning, 2 when critical or not known; so do the others.
    """
    _ask("status", **options)


@main.command()
@_asking
def health(**options: Any) -> None:
    """Every issue: what was measured, the threshold, what to do."""
    _ask("health", **options)


@main.command()
@_asking
def redis(**options: Any) -> None:
    """The nodes: role, shard, memory, clients, hit rate, replication. The exit code is Redis' own."""
    _ask("redis", **options)


@main.command()
@_asking
def queues(**options: Any) -> None:
    """The queues: jobs by state, workers, oldest wait, load. The exit code is the queues' own."""
    _ask("queues", **options)


# --- start -----------------------------------------------------------------------------------------------


def _settings(config: str | None, listen: str | None = None) -> Loaded[Settings]:
    from exporter.configuration import read_settings
    from service.config.load import ConfigError

    try:
        return read_settings(os.environ, config=config, listen=listen)
    except ConfigError as error:
        _fail(str(error))


def _print_config(settings: Settings) -> None:
    import yaml

    from service.config.load import masked

    click.echo(yaml.safe_dump(masked(settings), sort_keys=False, allow_unicode=True), nl=False)


def _serve(loaded: Loaded[Settings]) -> NoReturn:
    import logging

    from exporter.bullmq.state_file import CheckpointFileError
    from exporter.configuration import all_secrets, preflight_error
    from exporter.redis.preflight import PreflightError
    from exporter.run import Exporter, serve
    from exporter.settings import slips
    from service.config.load import ConfigError
    from service.logs import LogFileError, configure_by
    from service.web.server import BindError
    from service.web.web_config import WebConfig, WebConfigError

    settings = loaded.model
    try:
        configure_by(settings.log, all_secrets(settings))
    except LogFileError as error:
        _fail(str(loaded.error("log.file", f"cannot be written to: {error}", settings.log.file)))
    for name, meant in slips(os.environ).items():
        extra = {"variable": name, "meant": meant}
        logging.getLogger(__name__).warning("no such setting", extra=extra)
    try:
        web = WebConfig(settings.web_config_file) if settings.web_config_file else None
        code = serve(Exporter(settings, web))
    except WebConfigError as error:
        _fail(str(loaded.error("web_config_file", str(error), settings.web_config_file)))
    except CheckpointFileError as error:
        path = "bullmq.state_file"
        _fail(
            str(ConfigError(loaded.name(path), settings.bullmq.state_file, loaded.source(path), str(error)))
        )
    except PreflightError as error:
        _fail(str(preflight_error(loaded, error.address, error.kind, error.message)))
    except BindError as error:
        why = f"cannot listen there: {error}"
        _fail(str(ConfigError(loaded.name("listen"), settings.listen, loaded.source("listen"), why)))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread that hangs in the kernel must not keep a stopped exporter


# --- asking ----------------------------------------------------------------------------------------------


def _ask(
    what: str, *, url: str | None, local: bool, config: str | None, as_json: bool, watch: float | None
) -> NoReturn:
    from exporter.commands.query import choose, run_view_command
    from service.config.load import ConfigError
    from service.web.status_client import StatusError

    if local and url:
        raise click.UsageError("--local and --url exclude each other")
    try:
        with choose(os.environ, url=url, config=config, local=local) as source:
            code = run_view_command(what, source, as_json=as_json, watch=watch)
    except (ConfigError, StatusError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(code)


def _fail(line: str) -> NoReturn:
    click.echo(f"monitor: {line}", err=True)
    sys.exit(_ERROR)


add_completion(main, "monitor")
