"""From settings to exit of a process: logging, signals, the HTTP server that must not vanish, the exit
code."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn, Protocol

from service.config.load import Loaded
from service.config.variables import Notice
from service.logs import LogFileError, configure_by
from service.threads import bound_thread_starts, start_again
from service.web.server import BindError
from service.web.web_config import WebConfig, WebConfigError

log = logging.getLogger(__name__)


class Program(Protocol):
    """What is run: the exporter or the scaler."""

    def start(self) -> None:
        """Listen and begin; may raise, and then nothing runs."""

    def stop(self) -> bool:
        """End everything in bounded time; whether all threads have ended."""

    @property
    def address(self) -> str:
        """host:port that is listened on."""

    @property
    def serving(self) -> bool:
        """Whether the HTTP server still runs."""


def serve(program: Program, on_started: Callable[[], None] = lambda: None) -> int:
    """Run until SIGTERM or SIGINT; the exit code, 1 when the HTTP server ended by itself.

    Only from the main thread. SIGUSR1 prints the stacks of all threads. Raises what `start` raises.
    """
    stopping = threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        log.info("stopping", extra={"signal": signal.Signals(number).name})
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    with suppress(AttributeError, ValueError):  # no such signal, or standard error is not a file
        faulthandler.register(signal.SIGUSR1)
    bound_thread_starts()
    program.start()
    on_started()
    log.info("listening", extra={"address": program.address})
    code = 0
    while not stopping.wait(1.0):
        start_again()
        if not program.serving:
            log.error("http server ended")
            code = 1
            break
    program.stop()
    log.info("stopped")
    return code


def start_logging(loaded: Loaded[Any], secrets: Iterable[str], notices: Iterable[Notice]) -> None:
    """By the settings; then a warning for each variable that has no effect.

    Raises ConfigError for a log file that cannot be written to.
    """
    try:
        configure_by(loaded.model.log, secrets)
    except LogFileError as error:
        raise loaded.error("log.file", f"cannot be written to: {error}", loaded.model.log.file) from None
    for notice in notices:
        if notice.reason:
            log.warning("setting ignored", extra={"variable": notice.variable, "reason": notice.reason})
        else:
            meant = {"meant": notice.meant} if notice.meant else {}
            log.warning("no such setting", extra={"variable": notice.variable, **meant})


def run(
    loaded: Loaded[Any],
    make_program: Callable[[WebConfig | None], Program],
    on_started: Callable[[], None] = lambda: None,
) -> NoReturn:
    """Make the program, serve until a signal, and exit. Raises ConfigError, and what making and starting
    raise."""
    settings = loaded.model
    try:
        web = WebConfig(settings.web_config_file) if settings.web_config_file else None
        code = serve(make_program(web), on_started)
    except WebConfigError as error:
        raise loaded.error("web_config_file", str(error), settings.web_config_file) from None
    except BindError as error:
        raise loaded.error("listen", f"cannot listen there: {error}", settings.listen) from None
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread that hangs in the kernel must not keep a stopped process
