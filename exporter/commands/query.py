"""The commands that ask: look, print, and say by the exit code how it is."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import click
from rich.console import Console, RenderableType

from exporter.commands import tables
from exporter.commands.exit_code import CRITICAL, area_exit_code, exit_code
from exporter.commands.view_source import FallbackSource, LocalSource, RemoteSource, ViewSource
from exporter.configuration import all_secrets, read_exporter_settings
from exporter.views import NO_MONITORING, View
from service.clock import wait
from service.console import make_console
from service.logs import configure
from service.web.address import local_url
from service.web.status_client import StatusError, key_from_environment, key_from_settings


@dataclass(frozen=True)
class ViewCommand:
    """What a command prints of a view, as a table or as data, and its exit code."""

    table: Callable[[View], RenderableType]
    data: Callable[[View], Any]
    code: Callable[[View], int]


VIEW_COMMANDS: Final[Mapping[str, ViewCommand]] = {
    "status": ViewCommand(tables.status_table, lambda view: view, exit_code),
    "health": ViewCommand(tables.health_table, lambda view: view["health"], exit_code),
    "redis": ViewCommand(
        tables.redis_table, lambda view: view["redis"], lambda view: area_exit_code(view, "redis")
    ),
    "queues": ViewCommand(
        tables.queues_table, lambda view: view["queues"], lambda view: area_exit_code(view, "bullmq")
    ),
}


def choose(environ: Mapping[str, str], *, url: str | None, config: str | None, local: bool) -> ViewSource:
    """Who is to be asked. A URL that is given is asked and nothing else; without one, the exporter that these
    settings would start or, where none listens, Redis itself.

    Raises ConfigError and StatusError.
    """
    url = url or (None if local else environ.get("EXPORTER_URL", "").strip())
    if url:
        return RemoteSource(url, key_from_environment(environ))
    loaded = read_exporter_settings(environ, config=config)
    configure("error", "logfmt", secrets=all_secrets(loaded.model))  # the answer says what is wrong
    if local:
        return LocalSource(loaded)
    remote = RemoteSource(local_url(loaded.model.listen), key_from_settings(loaded.model.api))
    return FallbackSource(remote, lambda: LocalSource(loaded), say=_note)


def run_view_command(what: str, source: ViewSource, *, as_json: bool, watch: float | None) -> int:
    """Print, and return the exit code; with `watch` again every so many seconds, until interrupted.

    Raises ConfigError and StatusError at the first look; a watch goes on through an exporter's absence.
    """
    console = make_console()
    code = _once(VIEW_COMMANDS[what], source.view(), console, as_json=as_json)
    never = threading.Event()
    while watch is not None:
        wait(never, watch)
        try:
            view = source.view()
        except StatusError as error:
            _note(str(error))
            continue
        if console.is_terminal and not as_json:
            console.clear()
        code = _once(VIEW_COMMANDS[what], view, console, as_json=as_json)
    return code


def _once(command: ViewCommand, view: View, console: Console, *, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(command.data(view), ensure_ascii=False))
    elif view["health"] is not None:
        console.print(_table(command, view))
    if view["health"] is None:
        _note(NO_MONITORING)
        return CRITICAL
    return command.code(view)


def _table(command: ViewCommand, view: View) -> RenderableType:
    try:
        return command.table(view)
    except (KeyError, TypeError):
        theirs, ours = view.get("version"), version("oxherd")
        why = f"its version is {theirs}, this command's {ours}; --json shows what it has"
        raise StatusError(f"the exporter's answer lacks something that is shown here: {why}") from None


def _note(text: str) -> None:
    """Beside the answer, so that it does not end up in what reads the answer."""
    click.echo(f"monitor: {text}", err=True)
    sys.stderr.flush()
