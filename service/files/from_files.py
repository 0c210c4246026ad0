"""A value that is made from files which may be replaced while the process runs: a password, a key, a
certificate.

A file that cannot be used (half written, removed for a moment) leaves the last good value in place.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from service.config.files import file_stamp
from service.config.load import ConfigError
from service.logs import hide_too
from service.outcome import UnreadableError

log = logging.getLogger(__name__)

T = TypeVar("T")


class FromFiles(Generic[T]):
    """The value, made again when one of the files has changed. For any thread."""

    def __init__(
        self,
        paths: Iterable[str | None],
        make: Callable[[], T],
        value: T,
        secret: Callable[[T], object] = lambda value: value,
    ) -> None:
        """`secret`: what of a new value must not be logged, if it is a text."""
        self._paths: Final = [path for path in paths if path]
        self._make = make
        self._secret = secret
        self._value = value
        self._lock = threading.Lock()
        self._stamp: object = None
        self._complaint = ""

    def current(self) -> T:
        """The value as of now; the last good one if the files cannot be used."""
        with self._lock:
            stamp = [file_stamp(path) for path in self._paths]
            if self._paths and stamp != self._stamp:
                self._stamp = stamp
                self._read_again()
            return self._value

    def first(self) -> T:
        """Make the value although no file has changed. Raises what making it raises."""
        with self._lock:
            self._value = self._make()
            return self._value

    def forget_stamp(self) -> None:
        """Read the files again, whatever their times say."""
        with self._lock:
            self._stamp = None

    def _read_again(self) -> None:
        before = self._value
        try:
            self._value = self._make()
        except (ConfigError, UnreadableError, ValueError) as error:
            why = error.why if isinstance(error, ConfigError) else str(error)
            if before is not None and why != self._complaint:  # once, not at every attempt
                log.warning("file not usable, last value stays", extra={"file": self._paths[0], "error": why})
            self._complaint = why
            return
        self._complaint = ""
        if isinstance(secret := self._secret(self._value), str):
            hide_too(secret)
        if before is not None and self._value != before:
            log.info("file read again", extra={"file": self._paths[0]})
