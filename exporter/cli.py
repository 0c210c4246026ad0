"""`monitor`: start the exporter, or show the state. Commands import late, so that --help is fast."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from service.commands.completion import add_completion
from service.commands.options import (
    CONTEXT,
    INTERRUPTED,
    F,
    check_options,
    config_option,
    fail,
    fail_for,
    json_option,
    listen_option,
    print_config,
    show_notices,
    version_option,
    watch_option,
)

if TYPE_CHECKING:
    from exporter.config.settings import ExporterSettings
    from service.config.load import Loaded

_PROGRAM = "monitor"
_config_option = config_option("EXPORTER_CONFIG")


@click.group(context_settings=CONTEXT)
@version_option(_PROGRAM)
def main() -> None:
    """Watch a Redis deployment, the BullMQ queues in it and the host.

    Settings come from the environment (REDIS_URL ...) and from a YAML file; docs/settings.md lists them.
    """


@main.command()
@listen_option("EXPORTER_LISTEN", "0.0.0.0:9877")
@click.option(
    "--shard",
    metavar="K/N",
    help="Watch the K-th of N parts of the queues, as N exporters do together.  [EXPORTER_SHARD; 1/1]",
)
@_config_option
@check_options
def start(
    listen: str | None, shard: str | None, config: str | None, *, check_config: bool, print_config: bool
) -> None:
    """Run the exporter until SIGTERM or Ctrl-C."""
    loaded = _settings(config, listen, shard, every_error=check_config)
    if print_config:
        _print(loaded.model)
    elif check_config:
        from exporter.commands.doctor import show_watched
        from exporter.config.notices import exporter_notices
        from exporter.configuration import exporter_exposures

        notices = [*exporter_notices(loaded, os.environ), *exporter_exposures(loaded, os.environ)]
        show_notices(_PROGRAM, notices)
        click.echo("the settings are valid")
        show_watched(loaded)
    else:
        _run(loaded)


def _view_options(command: F) -> F:
    """The options of all commands that show the state."""
    for option in (
        watch_option,
        json_option,
        _config_option,
        click.option("--local", is_flag=True, help="Collect once in this process, without the exporter."),
        click.option(
            "--url",
            metavar="URL",
            help="The exporter's URL, or those of all shards with commas.  "
            "[EXPORTER_URL; this machine, port 9877]",
        ),
    ):
        command = option(command)
    return command


@main.command()
@_view_options
def status(**options: Any) -> None:
    """The score, and the state and result of every source.

    Exit code: 0 healthy, 1 warning, 2 critical or unknown; also for the other commands.
    """
    _show("status", **options)


@main.command()
@_view_options
def health(**options: Any) -> None:
    """Every issue: the measured value, the threshold, the recommendation."""
    _show("health", **options)


@main.command()
@_view_options
def redis(**options: Any) -> None:
    """The nodes: role, shard, memory, clients, hit rate, replication. The exit code is for Redis only."""
    _show("redis", **options)


@main.command()
@click.argument("queues", metavar="[NAME]...", nargs=-1)
@_view_options
def queues(queues: tuple[str, ...], **options: Any) -> None:
    """The queues: jobs by state, workers, oldest wait, load. The exit code is for the queues only.

    With the NAME of a queue, or PREFIX:NAME, only that one, and its jobs by their name.
    """
    _show("queues", queues, **options)


@main.command()
@_view_options
def memory(**options: Any) -> None:
    """Which queue takes the memory of Redis, when that is full, and what would free some. Estimates.

    Without a running exporter a few jobs are measured in up to 10 s. Exit code: 0, or 2 if nothing is known.
    """
    _show("memory", **options)


@main.command()
@json_option
@_config_option
@click.option(
    "--timeout",
    "seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=1, max=600),
    default=10.0,
    help="Time for all of it.  [10]",
)
def doctor(*, config: str | None, as_json: bool, seconds: float) -> None:
    """Look once at settings, Redis, queues, Prometheus and scaler: what will bite, and the fix.

    Run it with the environment of the exporter. Exit code: 0 nothing, 1 warnings, 2 something is wrong or
    cannot be seen.
    """
    from exporter.commands.doctor import run_doctor

    sys.exit(run_doctor(_settings(config, every_error=True), os.environ, seconds=seconds, as_json=as_json))


# --- start -----------------------------------------------------------------------------------------------


_print = print_config  # `start` has an option of this name


def _settings(
    config: str | None, listen: str | None = None, shard: str | None = None, *, every_error: bool = False
) -> Loaded[ExporterSettings]:
    from exporter.configuration import read_exporter_settings
    from service.config.load import ConfigError

    try:
        return read_exporter_settings(os.environ, config=config, listen=listen, shard=shard)
    except ConfigError as error:
        fail_for(_PROGRAM, error, every=every_error)


def _run(loaded: Loaded[ExporterSettings]) -> NoReturn:
    from exporter.bullmq.streams.state_file import CheckpointFileError
    from exporter.config.notices import exporter_notices
    from exporter.configuration import all_secrets, exporter_exposures, preflight_error
    from exporter.redis.preflight import PreflightError
    from exporter.run import Exporter
    from service.config.load import ConfigError
    from service.garbage import YOUNG_OF_A_QUEUE, GarbageCollection
    from service.lifecycle import run, start_logging

    settings = loaded.model
    try:
        start_logging(
            loaded,
            all_secrets(settings),
            exporter_notices(loaded, os.environ),
            exporter_exposures(loaded, os.environ),
        )
        run(loaded, lambda web: Exporter(settings, web, GarbageCollection(YOUNG_OF_A_QUEUE)))
    except ConfigError as error:
        fail(_PROGRAM, str(error))
    except CheckpointFileError as error:
        fail(_PROGRAM, str(loaded.error("bullmq.state_file", str(error), settings.bullmq.state_file)))
    except PreflightError as error:
        fail(_PROGRAM, str(preflight_error(loaded, error.address, error.kind, error.message)))


# --- the state -------------------------------------------------------------------------------------------


def _show(
    name: str,
    queues: tuple[str, ...] = (),
    *,
    url: str | None,
    local: bool,
    config: str | None,
    as_json: bool,
    watch: float | None,
) -> NoReturn:
    from exporter.commands.one_queue import UnknownQueueError
    from exporter.commands.query import VIEW_COMMANDS, choose_source, of_queues, run_view_command
    from service.config.load import ConfigError
    from service.web.status_client import StatusError

    if local and url:
        raise click.UsageError("--local and --url exclude each other")
    try:
        with choose_source(
            os.environ, url=url, config=config, local=local, memory=name == "memory"
        ) as source:
            command = of_queues(queues) if queues else VIEW_COMMANDS[name]
            code = run_view_command(command, source, as_json=as_json, watch=watch)
    except (ConfigError, StatusError, UnknownQueueError) as error:
        fail(_PROGRAM, str(error))
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


add_completion(main, _PROGRAM)
