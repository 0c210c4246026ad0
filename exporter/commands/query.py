"""The commands that show the state: they query it, print it, and return an exit code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from rich.console import Console, RenderableType

from exporter.commands import tables
from exporter.commands.exit_code import CRITICAL, area_exit_code, exit_code
from exporter.commands.memory import memory_data, memory_exit_code, memory_table
from exporter.commands.one_queue import UnknownQueueError, chosen_table, select_queues
from exporter.commands.view_source import (
    FallbackSource,
    LocalSource,
    RemoteSource,
    ViewSource,
    remote_source,
)
from exporter.configuration import all_secrets, read_exporter_settings
from exporter.views import NO_MONITORING, View
from service.clock import wait
from service.commands.console import make_console, print_json, shown_or
from service.commands.options import note
from service.logs import configure
from service.web.address import local_url
from service.web.status_client import StatusError, key_from_environment, key_from_settings


@dataclass(frozen=True)
class ViewCommand:
    """The table, the data and the exit code of a command, each as a function of the view."""

    table: Callable[[View], RenderableType]
    data: Callable[[View], Any]
    code: Callable[[View], int]


def _queues_data(view: View) -> Any:
    """The queues, and which part of all they are where that is not all."""
    shard, queues = view.get("shard"), view["queues"]
    return {**queues, "shard": shard} if shard and queues is not None else queues


VIEW_COMMANDS: Final[Mapping[str, ViewCommand]] = {
    "status": ViewCommand(tables.status_table, lambda view: view, exit_code),
    "health": ViewCommand(tables.health_table, lambda view: view["health"], exit_code),
    "redis": ViewCommand(
        tables.redis_table, lambda view: view["redis"], lambda view: area_exit_code(view, "redis")
    ),
    "queues": ViewCommand(tables.queues_table, _queues_data, lambda view: area_exit_code(view, "bullmq")),
    "memory": ViewCommand(memory_table, memory_data, memory_exit_code),
}


def choose_source(
    environ: Mapping[str, str], *, url: str | None, config: str | None, local: bool, memory: bool = False
) -> ViewSource:
    """The source of the view: the exporter at `url` if it is set, or all shards at several URLs. `memory`: a
    local collection measures the memory of the queues too.

    Otherwise all shards of the settings, else the exporter that these settings would start or, if none
    listens there, a local collection.

    Raises ConfigError and StatusError.
    """
    url = url or (None if local else environ.get("EXPORTER_URL", "").strip())
    if url:
        urls = [part.strip() for part in url.split(",") if part.strip()]
        return remote_source(urls, key_from_environment(environ))
    loaded = read_exporter_settings(environ, config=config, notify=_note)
    configure("error", "logfmt", secrets=all_secrets(loaded.model))  # the output reports problems
    if local:
        return LocalSource(loaded, memory=memory)
    if loaded.model.shard_urls:
        return remote_source(loaded.model.shard_urls, key_from_settings(loaded.model.api))
    remote = RemoteSource(local_url(loaded.model.listen), key_from_settings(loaded.model.api))
    return FallbackSource(remote, lambda: LocalSource(loaded, memory=memory), notify=_note)


def of_queues(names: Sequence[str]) -> ViewCommand:
    """The command for the queues with these names only; its parts raise UnknownQueueError."""
    whole = VIEW_COMMANDS["queues"]
    return ViewCommand(
        lambda view: chosen_table(select_queues(view, names)),
        lambda view: whole.data(select_queues(view, names)),
        lambda view: whole.code(select_queues(view, names)),
    )


def run_view_command(command: ViewCommand, source: ViewSource, *, as_json: bool, watch: float | None) -> int:
    """Print, and return the exit code; with `watch` again every `watch` seconds, until interrupted.

    Raises ConfigError, StatusError and UnknownQueueError for the first view only; `watch` continues while the
    exporter is down, and where it does not know a queue, as after its start.
    """
    console = make_console()
    code = _print(command, source.view(), console, as_json=as_json)
    never = threading.Event()
    while watch is not None:
        wait(never, watch)
        try:
            view = source.view()
            if console.is_terminal and not as_json:
                console.clear()
            code = _print(command, view, console, as_json=as_json)
        except (StatusError, UnknownQueueError) as error:
            _note(str(error))
    return code


def _print(command: ViewCommand, view: View, console: Console, *, as_json: bool) -> int:
    versions = f"its version is {view.get('version')}, the version of this command is {version('oxherd')}"
    with shown_or(
        f"the exporter's response lacks a value of this table: {versions}; --json prints the response"
    ):
        if as_json:
            print_json(command.data(view))
        elif view["health"] is not None:
            console.print(command.table(view))
        if view["health"] is not None:
            return command.code(view)
    _note(NO_MONITORING)
    return CRITICAL


def _note(text: str) -> None:
    note("monitor", text)
