"""`scaling status`: fetch the status, print it, return the exit code."""

from __future__ import annotations

import threading
from importlib.metadata import version
from typing import Any, Final

from rich.console import Console

from scaler.commands.summary import late_by
from scaler.commands.tables import scaling_table
from scaler.views import NAME
from service.clock import wait
from service.commands.console import make_console, print_json, shown_or
from service.commands.options import note
from service.web.status_client import StatusError, check_url, fetch_status

_SECONDS: Final = 10.0
_TROUBLE: Final = frozenset(
    {"MetricsStale", "TargetNotFound", "Forbidden", "Contested", "CrashLoop", "PolicyInvalid"}
)


def show_status(url: str, key: str | None = None, *, as_json: bool, watch: float | None) -> int:
    """Print, and return the exit code; with `watch` again every so many seconds, until interrupted.

    Raises StatusError at the first request; a watch continues while the scaler does not answer.
    """
    url = check_url(url, "scaler")
    console = make_console()
    code = _show(url, key, console, as_json=as_json)
    never = threading.Event()
    while watch is not None:
        wait(never, watch)
        try:
            code = _show(url, key, console, as_json=as_json, clear=console.is_terminal and not as_json)
        except StatusError as error:
            note("scaling", str(error))
    return code


def status_exit_code(view: dict[str, Any]) -> int:
    """1 if a target has a problem, none is scaled as orders cannot be read, no step is done yet or the last
    one is long ago, else 0."""
    problem = any(target["error"] or _TROUBLE & set(target["conditions"]) for target in view["targets"])
    return int(problem or bool(view.get("held")) or view["time"] is None or late_by(view) is not None)


def _show(url: str, key: str | None, console: Console, *, as_json: bool, clear: bool = False) -> int:
    view = fetch_status(url, "scaler", NAME, seconds=_SECONDS, headers={}, key=key)
    if clear:
        console.clear()
    with shown_or(not_shown(view)):
        if as_json:
            print_json(view)
        else:
            console.print(scaling_table(view))
        return status_exit_code(view)


def not_shown(view: dict[str, Any]) -> str:
    """What is said of a status that cannot be shown."""
    versions = f"its version is {view.get('version')}, this command's is {version('oxherd')}"
    return f"the scaler's status lacks a field that is shown here: {versions}; --json shows all its fields"
