"""How a person reaches the same servers with redis-cli. Pure; no secret is in it."""

from __future__ import annotations

from shlex import quote
from typing import Final

from exporter.address import RedisUrl
from exporter.config.redis import RedisSettings, TlsSettings
from exporter.snapshot.redis import Access

PROMPT_OPTION: Final = "--askpass"
"""The option of redis-cli that reads a password from the terminal."""


def access(settings: RedisSettings, url: RedisUrl) -> Access:
    """The options of redis-cli, and the user of the exporter. A password is asked for, and is that of the
    administrator: what is recommended the exporter's user may not do."""
    secret = (url.password, settings.password, settings.password_file)
    options = (
        *(_tls_options(settings.tls) if url.tls or settings.tls.enabled else ()),
        *([PROMPT_OPTION] if any(secret) else ()),
    )
    return Access(options, url.username or settings.username or "default")


def _tls_options(tls: TlsSettings) -> tuple[str, ...]:
    values = {
        "--cacert": tls.ca_file,
        "--cert": tls.cert_file,
        "--key": tls.key_file,
        "--sni": tls.server_name,
    }
    given = tuple(f"{option} {quote(value)}" for option, value in values.items() if value)
    return ("--tls", *([] if tls.verify else ["--insecure"]), *given)
