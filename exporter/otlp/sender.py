"""Sends a request of OTLP: compressed, within a deadline, with the headers of the settings."""

from __future__ import annotations

import gzip
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from exporter.config.otlp import OtlpSettings, OtlpTlsSettings, secret_parts
from exporter.otlp.answers import PushAnswer, answer_of, answer_of_error
from exporter.otlp.requests import PushRequest
from service.clock import Deadline, now
from service.config.files import read_secret
from service.config.load import HIDDEN, ConfigError
from service.files.from_files import FromFiles
from service.logs import hide_too
from service.outcome import UnreadableError
from service.web.client import HttpClient, HttpClientError, HttpRequest, Origin
from service.web.header_values import is_header_value

_ANSWER_BYTES: Final = 1 << 16
_LEVEL: Final = 1  # 5 % larger than the usual 6, in a third of its time


class OtlpSender:
    """For one thread. Constructing it reads nothing; the settings have an endpoint."""

    def __init__(self, settings: OtlpSettings, version: str) -> None:
        url = settings.url or ""
        self._settings = settings
        self._target = Origin.of(url).target
        parts = urlsplit(url)
        self.place: Final = f"{parts.scheme}://{parts.netloc}"
        """The endpoint without its path, which some have a token in."""
        self._http = HttpClient(url, tls=lambda: otlp_tls(settings.tls), server_name=settings.tls.server_name)
        self._plain = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
            "User-Agent": f"oxherd/{version}",
            **settings.headers,
        }
        key = settings.authorization
        known = {"Authorization": key.get_secret_value()} if key is not None else {}
        files = {**settings.header_files}
        if settings.authorization_file is not None:
            files["Authorization"] = settings.authorization_file
        self._secret: FromFiles[Mapping[str, str] | None] = FromFiles(
            files.values(), lambda: {**known, **_read(files)}, None if files else known
        )

    def send(self, request: PushRequest) -> PushAnswer:
        """Send it once. The text of the answer has no secret."""
        secret = self._secret.current()
        if secret is None:
            return PushAnswer("settings", "a file of otlp.header_files or otlp.authorization_file is missing")
        answer = self._exchange(request, {**self._plain, **secret})
        text = answer.text
        for value in secret.values():
            for part in secret_parts(value):
                text = text.replace(part, HIDDEN) if part else text
        return answer._replace(text=text)

    def close(self) -> None:
        """Close the idle connections."""
        self._http.close()

    def _exchange(self, request: PushRequest, headers: Mapping[str, str]) -> PushAnswer:
        body = gzip.compress(request.body, _LEVEL, mtime=0)
        sent = HttpRequest("POST", self._target, headers, body, _ANSWER_BYTES, truncate=True)
        try:
            response = self._http.exchange(sent, Deadline.after(self._settings.timeout_seconds))
        except HttpClientError as error:
            return answer_of_error(error)
        except UnreadableError as error:
            return PushAnswer("settings", str(error))
        return answer_of(response, request.points, now())


def otlp_tls(settings: OtlpTlsSettings) -> ssl.SSLContext:
    """The context of a new connection, as the files may have been replaced. Raises UnreadableError."""
    file = f"ca_file: {settings.ca_file}"
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if not settings.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        file = f"cert_file: {settings.cert_file} with key_file {settings.key_file}"
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file, password=lambda: "")
    except (OSError, ValueError) as error:
        unfit = isinstance(error, ssl.SSLError | ValueError)
        why = "is not a PEM file that fits" if unfit else getattr(error, "strerror", None)
        raise UnreadableError("settings", f"otlp.tls.{file}: {why}") from None
    return context


def _read(files: Mapping[str, str]) -> dict[str, str]:
    """The value of each header. Raises ConfigError."""
    values = {}
    for name, path in files.items():
        setting = f"otlp.header_files.{name}"
        values[name] = read_secret(path, setting)
        if not is_header_value(values[name]):
            raise ConfigError(setting, path, "file", "its text is not valid in a header")
        for part in secret_parts(values[name]):
            hide_too(part)
    return values
