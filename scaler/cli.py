"""`scaling`: start the scaler, show its state, send it commands, try policies. Commands import late, so that
--help is fast."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from scaler.commands.durations import as_seconds, as_seconds_list, as_seconds_range
from service.commands.completion import add_completion
from service.commands.options import (
    CONTEXT,
    INTERRUPTED,
    check_options,
    config_option,
    fail,
    fail_for,
    json_option,
    listen_option,
    note,
    print_config,
    reject_nan,
    show_notices,
    version_option,
    watch_option,
)

if TYPE_CHECKING:
    from scaler.config.settings import ScalerSettings, TargetSettings
    from service.config.load import Loaded

_PROGRAM: Final = "scaling"
_config_option = config_option("SCALER_CONFIG")


@click.group(context_settings=CONTEXT)
@version_option(_PROGRAM)
def main() -> None:
    """Keep the workers of BullMQ queues at the number that the queues need.

    Settings come from the environment (PROMETHEUS_URL ...) and from a YAML file; they are listed in
    docs/scaler-settings.md.
    """


_print = print_config  # `start` has an option of this name


@main.command()
@listen_option("SCALER_LISTEN", "0.0.0.0:9878")
@_config_option
@click.option("--dry-run", is_flag=True, help="Decide and publish, change nothing.  [SCALER_DRY_RUN]")
@check_options
def start(
    listen: str | None, config: str | None, *, dry_run: bool, check_config: bool, print_config: bool
) -> None:
    """Run the scaler until SIGTERM or Ctrl-C. A changed file is taken over while it runs."""
    loaded = _settings(config, listen=listen, dry_run=dry_run, starting=True, every_error=check_config)
    if print_config:
        _print(loaded.model)
    elif check_config:
        from scaler.config.environment import scaler_notices
        from scaler.config.policy_keys import ignored_settings
        from scaler.configuration import scaler_exposures, settings_conflicts

        exposed = scaler_exposures(loaded, os.environ)
        show_notices(_PROGRAM, [*scaler_notices(os.environ), *ignored_settings(loaded), *exposed])
        for line in settings_conflicts(loaded.model, os.environ):
            note(_PROGRAM, str(line))
        count = len(loaded.model.targets)
        click.echo(f"the settings are valid: {count} target{'' if count == 1 else 's'}")
    else:
        _run(loaded, config, listen=listen, dry_run=dry_run)


@main.command()
@watch_option
@json_option
@_config_option
@click.option("--url", metavar="URL", help="The scaler.  [SCALER_URL; this machine, port 9878]")
def status(url: str | None, config: str | None, *, as_json: bool, watch: float | None) -> None:
    """Show every target: queues, current and desired workers, load, wait, conditions, the last decision.

    Exits 0 if every target is OK, 1 if a target fails or has no metrics, 2 if no scaler answers.
    """
    from scaler.commands.status import show_status
    from service.config.load import ConfigError
    from service.web.status_client import StatusError

    try:
        server, key = _server(url, config)
        code = show_status(server, key, as_json=as_json, watch=watch)
    except (StatusError, ConfigError) as error:
        fail(_PROGRAM, str(error))
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


@main.command()
@click.argument("target")
@json_option
@_config_option
@click.option("--url", metavar="URL", help="The scaler.  [SCALER_URL; this machine, port 9878]")
def explain(target: str, url: str | None, config: str | None, *, as_json: bool) -> None:
    """Show why a TARGET (or queue) has its number of workers: the figures, the four needs, and which won."""
    from scaler.commands.explain import NoTargetError, show_explanation
    from service.config.load import ConfigError
    from service.web.status_client import StatusError

    try:
        server, key = _server(url, config)
        show_explanation(server, key, target, as_json=as_json)
    except (StatusError, ConfigError, NoTargetError) as error:
        fail(_PROGRAM, str(error))


def _server(url: str | None, config: str | None) -> tuple[str, str | None]:
    """The scaler's URL and key: of the option, of SCALER_URL, else of this machine. Raises ConfigError."""
    from service.web.address import local_url
    from service.web.status_client import key_from_environment, key_from_settings

    url = url or os.environ.get("SCALER_URL", "").strip()
    if url:
        return url, key_from_environment(os.environ)
    settings = _settings(config).model
    return local_url(settings.listen), key_from_settings(settings.api)


# --- commands --------------------------------------------------------------------------------------------


_URL = click.option(
    "--url",
    metavar="URL",
    help="Send it to this scaler, or to the exporter in front of it, with the key of CRON_API_KEY[_FILE].",
)


@main.command()
@click.argument("queue")
@click.argument("workers", type=click.IntRange(min=0))
@click.option("--reason", required=True, help="Why; shown with the override.")
@click.option(
    "--for", "seconds", metavar="DURATION", callback=as_seconds, help="90s, 30m, 2h; else until `auto`."
)
@click.option("--by", help="Who requests it.  [the user's name]")
@_config_option
@_URL
def manual(
    *,
    queue: str,
    workers: int,
    reason: str,
    seconds: float | None,
    by: str | None,
    config: str | None,
    url: str | None,
) -> None:
    """Set the workers of a QUEUE (or target) to a number, whatever the metrics say.

    The override goes into the state file, where the scaler reads it at its next step or start; with --url it
    goes over HTTP.
    """
    from scaler.commands import override as commands

    if url:
        body = {"queueName": queue, "targetWorkers": workers, "reason": reason, "requestedBy": by or _user()}
        minutes = None if seconds is None else seconds / 60
        _send(url, "manual_scale", body | {"durationMinutes": minutes}, commands.manual_message)
        return
    loaded = _settings(config)
    target = _target(loaded, queue)
    _print_result(
        lambda: commands.set_manual(loaded, target, workers, reason=reason, by=by or _user(), seconds=seconds)
    )


@main.command()
@click.argument("queue")
@_config_option
@_URL
def auto(queue: str, config: str | None, url: str | None) -> None:
    """Clear `manual` and `pause`: the metrics decide again."""
    from scaler.commands import override as commands

    if url:
        _send(url, "automatic_scale", {"queueName": queue}, commands.automatic_message)
        return
    loaded = _settings(config)
    target = _target(loaded, queue)
    _print_result(lambda: commands.set_automatic(loaded, target))


@main.command()
@click.argument("queue")
@_config_option
@_URL
def pause(queue: str, config: str | None, url: str | None) -> None:
    """Leave the workers of a QUEUE (or target) as they are until `auto`."""
    from scaler.commands import override as commands

    if url:
        _send(url, "pause_scaling", {"queueName": queue}, commands.paused_message)
        return
    loaded = _settings(config)
    target = _target(loaded, queue)
    _print_result(lambda: commands.set_paused(loaded, target))


@main.group(context_settings=CONTEXT)
def state() -> None:
    """The state with what operators have set."""


@state.command()
@_config_option
def discard(config: str | None) -> None:
    """Go on without the orders that cannot be read: the others stay in force, and targets are scaled again.

    The state as it was is kept beside it, under the name that is printed.
    """
    from scaler.commands import override as commands

    loaded = _settings(config)
    _print_result(lambda: commands.discard_state(loaded))


def _send(url: str, action: str, body: dict[str, Any], message: Callable[[dict[str, Any]], str]) -> None:
    from scaler.commands.api_client import CommandRefusedError, send_command
    from service.commands.console import shown_or
    from service.config.load import ConfigError
    from service.units import printable_lines
    from service.web.status_client import StatusError, key_from_environment

    try:
        data = send_command(url, key_from_environment(os.environ), {"action": action, **body})
        with shown_or(f"the scaler at {url} is of another version; the command was accepted"):
            click.echo(printable_lines(message(data)))
    except (StatusError, CommandRefusedError, ConfigError) as error:
        fail(_PROGRAM, str(error))


def _print_result(command: Callable[[], str]) -> None:
    from scaler.state.commands import CommandError
    from scaler.state.model import StateError
    from scaler.state.store import StoreError
    from service.config.load import ConfigError

    try:
        click.echo(command())
    except (CommandError, ConfigError, StateError, StoreError) as error:
        fail(_PROGRAM, str(error))


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _target(loaded: Loaded[ScalerSettings], name: str) -> TargetSettings:
    from scaler.state.commands import CommandError, find_target

    try:
        return find_target(loaded.model, name)
    except CommandError as error:
        fail(_PROGRAM, str(error))


# --- policies --------------------------------------------------------------------------------------------


@main.command()
@click.option("--jsonl", is_flag=True, required=True, help="JSON lines in, JSON lines out.")
def decide(*, jsonl: bool) -> None:
    """Answer observations with decisions, line by line, for any program; nothing is scaled.

    The protocol is in docs/decide.md.
    """
    del jsonl
    from scaler.decision.jsonl import reply_to_lines

    sys.exit(reply_to_lines(sys.stdin, sys.stdout))


@main.command()
@click.argument("targets", nargs=-1)
@click.option("--since", default="24h", show_default=True, callback=as_seconds, help="How far back: 6h, 7d.")
@click.option("--step", default="15s", show_default=True, callback=as_seconds, help="The scrape interval.")
@click.option(
    "--policy",
    "files",
    multiple=True,
    metavar="FILE",
    help="YAML with other settings of the policy, such as `start_cost_seconds: 0`; may be repeated.",
)
@click.option(
    "--start",
    default="10-40",
    show_default=True,
    callback=as_seconds_range,
    metavar="SECONDS",
    help="How long a new worker takes until it is ready, from and to.",
)
@click.option("--plot", "picture", metavar="FILE", help="Plot the results too: .png, .svg or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line per target.")
@_config_option
def backtest(
    *,
    targets: tuple[str, ...],
    since: float,
    step: float,
    files: tuple[str, ...],
    start: tuple[float, float],
    picture: str | None,
    as_json: bool,
    config: str | None,
) -> None:
    """Replay the jobs that Prometheus has recorded, under these settings and others.

    Prints how many jobs would have waited longer than the SLO, and the worker-hours.
    TARGETS: all if absent. Needs worker_concurrency.
    """
    from scaler.backtest.arrivals import NothingRecordedError
    from scaler.commands.backtest import TooManyStepsError, show_backtest
    from service.config.load import ConfigError
    from service.outcome import UnreadableError

    loaded = _settings(config)
    settings = loaded.model
    chosen = [_target(loaded, name) for name in targets] or list(settings.targets)
    if not chosen:
        fail(_PROGRAM, "no targets are set: there is nothing to replay")
    try:
        show_backtest(
            settings, chosen, files, since=since, step=step, start=start, picture=picture, as_json=as_json
        )
    except (ConfigError, UnreadableError, NothingRecordedError, TooManyStepsError) as error:
        fail(_PROGRAM, str(error))


@main.command()
@click.argument("targets", nargs=-1)
@click.option(
    "--weeks", type=click.IntRange(1, 12), default=4, show_default=True, help="How many weeks to look back."
)
@click.option("--step", default="1m", show_default=True, callback=as_seconds, help="How fine to read them.")
@click.option("--slo", callback=as_seconds, help="How long a job may wait.  [the target's wait_slo_seconds]")
@click.option(
    "--within",
    type=click.FloatRange(50, 99.99),
    callback=reject_nan,
    default=99.0,
    show_default=True,
    help="Percent of the jobs that do not wait longer.",
)
@click.option(
    "--compare",
    metavar="SLO,SLO...",
    callback=as_seconds_list,
    help="Other SLOs to price, such as 10s,2m.  [a quarter, half, double and four times]",
)
@click.option(
    "--price",
    type=click.FloatRange(0, 1_000_000),
    callback=reject_nan,
    help="What an hour of a worker costs, in any currency.",
)
@click.option(
    "--start",
    default="10-40",
    show_default=True,
    callback=as_seconds_range,
    metavar="SECONDS",
    help="How long a new worker takes until it is ready, from and to.",
)
@click.option("--scrape", default="15s", show_default=True, callback=as_seconds, help="The scrape interval.")
@click.option("--plot", "picture", metavar="FILE", help="Plot the plan too: .png, .svg or .pdf.")
@click.option("--settings", "only_settings", is_flag=True, help="Print only the settings, as YAML.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line per target.")
@_config_option
def plan(
    *,
    targets: tuple[str, ...],
    weeks: int,
    step: float,
    slo: float | None,
    within: float,
    compare: tuple[float, ...] | None,
    price: float | None,
    start: tuple[float, float],
    scrape: float,
    picture: str | None,
    only_settings: bool,
    as_json: bool,
    config: str | None,
) -> None:
    """Plan the workers of the next week from the weeks that Prometheus has recorded.

    Prints the workers by hour of the week, what this and other SLOs cost, and settings to paste.
    TARGETS: all if absent. Exits 1 if no number of workers keeps an SLO, or nothing of a target is recorded.
    """
    from scaler.backtest.arrivals import NothingRecordedError
    from scaler.commands.plan import PlanOptions, show_plan
    from service.config.load import ConfigError
    from service.outcome import UnreadableError

    loaded = _settings(config)
    chosen = [_target(loaded, name) for name in dict.fromkeys(targets)] or list(loaded.model.targets)
    if not chosen:
        fail(_PROGRAM, "no targets are set: there is nothing to plan")
    options = PlanOptions(weeks, step, slo, within / 100, compare, price, start, scrape)
    try:
        kept = show_plan(
            loaded.model,
            chosen,
            options,
            picture=picture,
            only_settings=only_settings,
            as_json=as_json,
            notify=lambda line: note(_PROGRAM, line),
        )
    except (ConfigError, UnreadableError, NothingRecordedError) as error:
        fail(_PROGRAM, str(error))
    sys.exit(0 if kept else 1)


@main.command()
@click.option(
    "--as", "form", type=click.Choice(["scaledqueues"]), required=True, help="What they are printed as."
)
@_config_option
def export(form: str, config: str | None) -> None:
    """Print the targets of the settings as objects of Kubernetes, for `kubectl apply --server-side -f -`.

    Only what differs from the `defaults` and `policies` of the settings is in them. Exits 1 if a target is
    left out.
    """
    del form
    from scaler.commands.export import as_scaled_queues

    exported = as_scaled_queues(_settings(config).model)
    click.echo(exported.text, nl=False)
    for line in exported.notes:
        note(_PROGRAM, line)
    sys.exit(1 if exported.left_out else 0)


# --- start -----------------------------------------------------------------------------------------------


def _settings(
    config: str | None,
    *,
    listen: str | None = None,
    dry_run: bool = False,
    starting: bool = False,
    every_error: bool = False,
) -> Loaded[ScalerSettings]:
    """Only the process itself needs keys that are fit; a command is told of others, and goes on."""
    from scaler.configuration import read_scaler_settings
    from service.config.load import ConfigError

    notify = None if starting else lambda text: note(_PROGRAM, text)
    try:
        return read_scaler_settings(os.environ, config=config, listen=listen, dry_run=dry_run, notify=notify)
    except ConfigError as error:
        fail_for(_PROGRAM, error, every=every_error)


def _run(
    loaded: Loaded[ScalerSettings], config: str | None, *, listen: str | None, dry_run: bool
) -> NoReturn:
    import logging

    from scaler.backends import BackendError
    from scaler.config.environment import scaler_notices
    from scaler.config.policy_keys import ignored_settings
    from scaler.configuration import Reloader, scaler_exposures, settings_conflicts
    from scaler.run import Scaler
    from scaler.state.store import StoreError
    from service.config.load import ConfigError, secrets_of
    from service.garbage import YOUNG_OF_A_TARGET, GarbageCollection
    from service.lifecycle import run, start_logging

    settings = loaded.model
    try:
        notices = [*scaler_notices(os.environ), *ignored_settings(loaded)]
        start_logging(loaded, secrets_of(settings), notices, scaler_exposures(loaded, os.environ))
        for line in settings_conflicts(settings, os.environ):
            logging.getLogger(__name__).warning("settings conflict", extra={"reason": line})
        _check_machine(loaded)
        if not settings.targets and settings.kubernetes.scaled_queues is None:
            logging.getLogger(__name__).warning("no targets are set: there is nothing to scale")
        reloader = Reloader(loaded, os.environ, config=config, listen=listen, dry_run=dry_run)
        run(loaded, lambda web: Scaler(reloader, web, GarbageCollection(YOUNG_OF_A_TARGET)))
    except ConfigError as error:
        fail(_PROGRAM, str(error))
    except StoreError as error:
        fail(_PROGRAM, str(loaded.error("state_file", str(error), settings.state_file)))
    except BackendError as error:
        kubeconfig = settings.kubernetes.kubeconfig
        fail(_PROGRAM, str(loaded.error("kubernetes.kubeconfig", str(error), kubeconfig)))


def _check_machine(loaded: Loaded[ScalerSettings]) -> None:
    """Raises ConfigError: not even min_workers could be started."""
    import logging

    from scaler.targets.descriptors import possible_shortage, shortage
    from scaler.targets.machine import least_above, limit_of_workers, most_above, this_machine

    settings = loaded.model
    if settings.dry_run:
        return
    limit, descriptors = limit_of_workers(settings), this_machine(settings).descriptors
    problems = [
        shortage(settings, descriptors) if descriptors is not None else None,
        least_above(settings, limit) if limit else None,
    ]
    if problem := next(filter(None, problems), None):
        raise loaded.error("targets", problem)
    possible = possible_shortage(settings, descriptors) if descriptors is not None else None
    if possible or (limit and (possible := most_above(settings, limit))):
        logging.getLogger(__name__).warning("settings conflict", extra={"reason": possible})


add_completion(main, _PROGRAM)
