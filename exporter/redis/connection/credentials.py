"""User, password and TLS context for the next connection. Files of secrets and certificates are read again
when they have changed, or when a login was refused: they are rotated while the exporter runs.

A file that cannot be used (half written, removed for a moment) leaves the last good value in place.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from exporter.address import RedisUrl, parse_url
from exporter.config.settings import RedisSettings
from exporter.redis.connect import tls_context
from service.config.files import file_stamp, read_secret
from service.config.load import ConfigError
from service.outcome import UnreadableError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Credentials:
    """What the settings say, kept up to date with the files that they name. For any thread.

    Raises ValueError for a URL that is not one.
    """

    def __init__(self, settings: RedisSettings, url: RedisUrl) -> None:
        self._settings = settings
        self._tls = settings.tls.enabled or url.tls
        self._url = _FromFiles(
            [settings.url_file], lambda: parse_url(_secret("redis.url_file", settings.url_file)), url
        )
        self._password = _FromFiles(
            [settings.password_file],
            lambda: _secret("redis.password_file", settings.password_file),
            settings.password.get_secret_value() if settings.password else None,
        )
        self._sentinel_password = _FromFiles(
            [settings.sentinel_password_file],
            lambda: _secret("redis.sentinel_password_file", settings.sentinel_password_file),
            settings.sentinel_password.get_secret_value() if settings.sentinel_password else None,
        )
        tls = settings.tls
        self._context: _FromFiles[ssl.SSLContext | None] = _FromFiles(
            [tls.ca_file, tls.cert_file, tls.key_file], lambda: tls_context(tls), None
        )

    def node(self) -> tuple[str | None, str | None]:
        """User and password for the nodes; those of the URL count before the settings."""
        url = self._url.current()
        return url.username or self._settings.username, url.password or self._password.current()

    def sentinel(self) -> tuple[str | None, str | None]:
        """User and password for the sentinels."""
        return self._settings.sentinel_username, self._sentinel_password.current()

    def tls(self) -> ssl.SSLContext | None:
        """The TLS context; None without TLS. Raises UnreadableError, which names the file, if there never was
        a usable one."""
        if not self._tls:
            return None
        return self._context.current() or self._context.first()

    def refused(self) -> None:
        """A login was refused: read the files of secrets again, whatever their times say."""
        for part in (self._url, self._password, self._sentinel_password):
            part.forget_stamp()


class _FromFiles(Generic[T]):
    """A value that is made from files, and made again when one of them has changed."""

    def __init__(self, paths: list[str | None], make: Callable[[], T], value: T) -> None:
        self._paths: Final = [path for path in paths if path]
        self._make = make
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
        if before is not None and self._value != before:
            log.info("file read again", extra={"file": self._paths[0]})


def _secret(setting: str, path: str | None) -> str:
    return read_secret(path or "", setting)
