"""User, password and TLS context for the next connection. Files of secrets and certificates are read again
when they have changed, or when a login was refused: they are rotated while the exporter runs."""

from __future__ import annotations

import ssl

from exporter.address import RedisUrl, parse_url
from exporter.config.redis import RedisSettings
from exporter.redis.connect import tls_context
from service.config.files import read_secret
from service.files.from_files import FromFiles


class Credentials:
    """What the settings say, kept up to date with the files that they name. For any thread.

    Raises ValueError for a URL that is not one.
    """

    def __init__(self, settings: RedisSettings, url: RedisUrl) -> None:
        self._settings = settings
        self._tls = settings.tls.enabled or url.tls
        self._url = FromFiles(
            [settings.url_file],
            lambda: parse_url(_secret("redis.url_file", settings.url_file)),
            url,
            lambda url: url.password,
        )
        self._password = FromFiles(
            [settings.password_file],
            lambda: _secret("redis.password_file", settings.password_file),
            settings.password.get_secret_value() if settings.password else None,
        )
        self._sentinel_password = FromFiles(
            [settings.sentinel_password_file],
            lambda: _secret("redis.sentinel_password_file", settings.sentinel_password_file),
            settings.sentinel_password.get_secret_value() if settings.sentinel_password else None,
        )
        tls = settings.tls
        self._context: FromFiles[ssl.SSLContext | None] = FromFiles(
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


def _secret(setting: str, path: str | None) -> str:
    return read_secret(path or "", setting)
