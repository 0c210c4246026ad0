"""From settings to exit of a process: logging, signals, the HTTP server that must not vanish, the exit
code."""

from __future__ import annotations

import faulthandler
import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from typing import Any, Final, NoReturn, Protocol

from service.config.exposure import Exposure
from service.config.load import Loaded
from service.config.variables import Notice
from service.logs import LogFileError, configure_by
from service.threads import bound_thread_starts, start_again
from service.web.server import BindError
from service.web.web_config import WebConfig, WebConfigError

log = logging.getLogger(__name__)

_PR_SET_DUMPABLE: Final = 4


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
        """Whether the HTTP server still runs, and any other that it has."""


def serve(program: Program, on_started: Callable[[], None] = lambda: None) -> int:
    """Run until SIGTERM or SIGINT, or SIGHUP where nohup does not ignore it; the exit code, 1 when the HTTP
    server ended by itself.

    Only from the main thread. SIGUSR1 prints the stacks of all threads. Raises what `start` raises.
    """
    received: list[int] = []
    with _woken_by_signals() as woken:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda number, _: received.append(number))
        with suppress(AttributeError, ValueError):  # no such signal, or standard error is not a file
            faulthandler.register(signal.SIGUSR1)
        bound_thread_starts()
        program.start()
        on_started()
        log.info("listening", extra={"address": program.address})
        code = 0
        while not received:
            select.select([woken], [], [], 1.0)
            start_again()
            if not received and not program.serving:
                log.error("http server ended")
                code = 1
                break
    if received:
        log.info("stopping", extra={"signal": signal.Signals(received[0]).name})
    program.stop()
    log.info("stopped")
    return code


@contextmanager
def _woken_by_signals() -> Iterator[int]:
    """A descriptor that can be read once a signal has come. A handler itself may neither log nor set an
    event: it interrupts whatever the main thread does, which may hold their locks."""
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def start_logging(
    loaded: Loaded[Any],
    secrets: Iterable[str],
    notices: Iterable[Notice],
    exposures: Iterable[Exposure] = (),
) -> None:
    """By the settings; then a warning for each variable that has no effect, and for each exposed secret.

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
    for exposure in exposures:
        log.warning(exposure.event, extra={"setting": exposure.setting, **exposure.facts})


def run(
    loaded: Loaded[Any],
    make_program: Callable[[WebConfig | None], Program],
    on_started: Callable[[], None] = lambda: None,
) -> NoReturn:
    """Make the program, serve until a signal, and exit. Raises ConfigError, and what making and starting
    raise."""
    settings = loaded.model
    _close_memory()
    try:
        web = WebConfig(settings.web_config_file) if settings.web_config_file else None
        code = serve(make_program(web), on_started)
    except WebConfigError as error:
        raise loaded.error("web_config_file", str(error), settings.web_config_file) from None
    except BindError as error:
        address = reduce(getattr, error.setting.split("."), settings)
        raise loaded.error(error.setting, f"cannot listen there: {error}", address) from None
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread that hangs in the kernel must not keep a stopped process


def _close_memory() -> None:
    """Linux: no other process of the same user reads our environment and memory, which hold secrets."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
