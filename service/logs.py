"""One line an event, logfmt or JSON: the event is a short constant, facts are fields.

On standard error, and in a file if one is set.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final, Literal, TextIO, TypeAlias

from service.config.model import LogSettings
from service.json_text import json_text

LogFormat: TypeAlias = Literal["logfmt", "json"]

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OWN: Final = frozenset({"time", "level", "event", "logger", "traceback"})
_SHORTEST_SECRET: Final = 4
_LONGEST_FIELD: Final = 8000


class Formatter(logging.Formatter):
    """time, level, event, logger, then the fields given as `extra`, a traceback last. A field that has one of
    these names gets an underscore: `level_`.

    `secrets` are blotted out of whatever would be written: a last net, for texts of libraries.
    """

    def __init__(self, form: LogFormat, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._form = form
        self._secrets: list[str] = []
        self.hide(secrets)

    def hide(self, secrets: Iterable[str]) -> None:
        """Further ones; the longest come first, as one may contain another."""
        more = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
        self._secrets = sorted({*self._secrets, *more}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: self._clean(value) for name, value in self._facts(record).items()}
        if self._form == "json":
            return json_text(fields)
        return " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())

    def _facts(self, record: logging.LogRecord) -> dict[str, object]:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts: dict[str, object] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        for name, value in vars(record).items():
            if name not in _STANDARD:  # a figure of that name would make the line one of another level
                facts[f"{name}_" if name in _OWN else name] = value
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return facts

    def _clean(self, value: object) -> object:
        if isinstance(value, bool | int | float) or value is None:
            return value
        text = str(value)
        for secret in self._secrets:
            text = text.replace(secret, "(hidden)")
        return text if len(text) <= _LONGEST_FIELD else text[:_LONGEST_FIELD] + "..."


class LogFileError(Exception):
    """The log file cannot be written to; the text says why."""


def configure_by(settings: LogSettings, secrets: Iterable[str]) -> None:
    """Standard error, and the file if one is set, whose folder is made. Raises LogFileError; then it is
    standard error alone."""
    hidden = list(secrets)
    configure(settings.level, settings.format, secrets=hidden)
    if settings.file is None:
        return
    size = max(1, int(settings.file_megabytes * 1_000_000))
    try:
        Path(settings.file).parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            settings.file, maxBytes=size, backupCount=settings.file_backups, encoding="utf-8"
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a path"
        raise LogFileError(why[:1].lower() + why[1:]) from None
    handler.setFormatter(Formatter(settings.format, hidden))
    logging.getLogger().addHandler(handler)


def hide_too(secret: str) -> None:
    """A secret that was read while the process runs."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, Formatter):
            handler.formatter.hide([secret])


def configure(
    level: str, form: LogFormat, *, secrets: Iterable[str] = (), stream: TextIO | None = None
) -> None:
    """Send all loggers to `stream` (standard error). Replaces what was configured before."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Formatter(form, secrets))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        if isinstance(old, RotatingFileHandler):
            old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)


def _quoted(value: object) -> str:
    """A logfmt value: bare where it can be, else a JSON string, so that a line end never ends the line."""
    if value is None:
        return "null"
    text = (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:.6g}"
        if isinstance(value, float)
        else str(value)
    )
    if text and text.isprintable() and not any(sign in ' "=\\' for sign in text):
        return text
    return json_text(text)


class ProblemLog:
    """A problem that lasts is logged once, again when it becomes another one, and once when it is over."""

    def __init__(
        self, log: logging.Logger, problem: str, recovered: str | None, *, field: str = "error"
    ) -> None:
        """The two events, None where the end is not logged; and the field that holds the problem's text."""
        self._log = log
        self._problem = problem
        self._recovered = recovered
        self._field = field
        self._current = ""

    def report(self, problem: str, level: int = logging.WARNING, **facts: object) -> None:
        """The problem of now, "" for none."""
        before, self._current = self._current, problem
        if problem and problem != before:
            self._log.log(level, self._problem, extra={self._field: problem, **facts})
        elif before and not problem and self._recovered:
            self._log.info(self._recovered, extra=facts or None)
