"""HTTP API of one Prometheus server: its requests and responses."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from pydantic import SecretStr
from pydantic_core import from_json

from scaler.config.prometheus import PrometheusSettings
from scaler.prometheus.parse import api_data
from service.clock import Deadline
from service.config.files import read_text
from service.config.load import HIDDEN, ConfigError
from service.json_text import TooLargeJsonError, check_json_size
from service.outcome import UnreadableError
from service.web.client import HttpClient, HttpClientError, HttpRequest, HttpResponse
from service.web.header_values import is_header_value

LIMIT: Final = 64 << 20
"""Bytes of an answer, where the number of queues is not known."""
_BASE: Final = 1 << 20
_QUEUE: Final = 32 << 10  # the series of a queue by several exporters, each with a dozen long labels
_PARSED: Final = 4  # bytes in memory of a byte of usual series, at most

_REFUSALS: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_INVALID: Final = frozenset({"protocol", "closed", "too_large"})


def limit_for(queues: int) -> int:
    """Bytes of an answer with the figures of so many queues; 0: of all."""
    return min(LIMIT, _BASE + _QUEUE * queues) if queues else LIMIT


class Server:
    """One of `PrometheusSettings.urls`. For many threads, each request on a connection of its own.
    `takes_long_queries`: whether it takes a text longer than MAX_TEXT_BYTES; `has_native_histograms`: whether
    it has those of an exporter, and knows their functions; None: it is not known."""

    def __init__(self, url: str, settings: PrometheusSettings) -> None:
        self.url: Final = url
        self._path = urlsplit(url).path.rstrip("/")
        self._settings = settings
        self._http = HttpClient(url, tls=self._tls, server_name=settings.tls.server_name)
        self._post = True
        self.takes_long_queries: bool | None = None
        self.has_native_histograms: bool | None = None

    @property
    def requests(self) -> int:
        """HTTP requests so far."""
        return self._http.requests

    def request(
        self, path: str, parameters: Mapping[str, str], deadline: Deadline, *, limit: int = LIMIT
    ) -> dict[str, Any]:
        """The parsed JSON of /api/v1/`path`: a success without warnings, of at most `limit` bytes.

        Raises UnreadableError: unreachable, timeout, refused, invalid, error; its text holds no secret.
        """
        headers, secrets = self._headers()
        query = urlencode({**self._settings.parameters, **parameters})
        try:
            response = self._exchange(path, query, headers, deadline, limit)
            if response.status == HTTPStatus.METHOD_NOT_ALLOWED and self._post:
                self._post = False  # something in between lets only GET through
                response = self._exchange(path, query, headers, deadline, limit)
            return self._document(response, limit)
        except UnreadableError as error:
            message = str(error)
            for secret in filter(None, secrets):
                message = message.replace(secret, HIDDEN)
            raise type(error)(error.kind, f"{self.url}: {message}") from None

    def close(self) -> None:
        """Close the idle connections."""
        self._http.close()

    def _exchange(
        self, path: str, query: str, headers: Mapping[str, str], deadline: Deadline, limit: int
    ) -> HttpResponse:
        """Raises UnreadableError."""
        method, target, body = "GET", f"{self._path}/api/v1/{path}?{query}", None
        if self._post:
            method, target, body = "POST", f"{self._path}/api/v1/{path}", query.encode()
            headers = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
        try:
            return self._http.exchange(HttpRequest(method, target, headers, body, limit), deadline)
        except HttpClientError as error:
            kind = "timeout" if error.kind == "timeout" else "unreachable"
            raise UnreadableError("invalid" if error.kind in _INVALID else kind, str(error)) from None

    def _tls(self) -> ssl.SSLContext:
        """The context of a new connection, as the files may have been replaced. Raises UnreadableError."""
        tls = self._settings.tls
        file = f"ca_file: {tls.ca_file}"
        try:
            context = ssl.create_default_context(cafile=tls.ca_file)
            if not tls.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            file = f"cert_file: {tls.cert_file} with key_file {tls.key_file}"
            if tls.cert_file:
                context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_passphrase)
        except (OSError, ValueError) as error:
            unfit = isinstance(error, ssl.SSLError | ValueError)
            why = "is not a PEM file that fits" if unfit else getattr(error, "strerror", None)
            raise UnreadableError("error", f"prometheus.tls.{file}: {why}") from None
        return context

    def _headers(self) -> tuple[dict[str, str], list[str]]:
        """The headers of a request, and the secrets in them. Raises UnreadableError for a file."""
        settings = self._settings
        headers = {name: secret.get_secret_value() for name, secret in settings.headers.items()}
        for name, path in settings.header_files.items():
            headers[name] = _secret(path, f"prometheus.header_files.{name}")
        secrets = list(headers.values())
        token = _secret_or_file(
            settings.bearer_token, settings.bearer_token_file, "prometheus.bearer_token_file"
        )
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
            secrets.append(token)
        password = _secret_or_file(settings.password, settings.password_file, "prometheus.password_file")
        if password is not None:
            pair = b64encode(f"{settings.username}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
            secrets += pair, password
        for name, value in headers.items():
            if not is_header_value(value):
                raise UnreadableError("error", f"prometheus: the value of {name} is not valid in a header")
        return headers, secrets

    def _document(self, response: HttpResponse, limit: int) -> dict[str, Any]:
        """Raises UnreadableError unless a Prometheus gave the answer, and it is not an error."""
        status = response.status
        if status in _REFUSALS:
            raise UnreadableError("refused", f"answered {status}: is the user, or the token, right?")
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            raise UnreadableError("error", f"answered {status}, a redirect: is the path right?")
        try:
            check_json_size(response.body, _PARSED * limit)
            document = from_json(response.body, allow_inf_nan=False)
        except TooLargeJsonError as error:
            raise UnreadableError("invalid", f"the answer is too large: {error}") from None
        except ValueError:
            document = None
        if not isinstance(document, dict) or document.get("status") not in ("success", "error"):
            if status == HTTPStatus.OK:
                raise UnreadableError("invalid", "what answers is not a Prometheus")
            kind = "unreachable" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "error"
            raise UnreadableError(kind, f"answered {status}: is it a Prometheus?")
        api_data(document)
        return document


def _secret_or_file(value: SecretStr | None, path: str | None, setting: str) -> str | None:
    """The value that is given, or the content of the file. Raises UnreadableError."""
    return _secret(path, setting) if path is not None else value.get_secret_value() if value else None


def _secret(path: str, setting: str) -> str:
    """The content of a file, without the white space around it. Raises UnreadableError."""
    try:
        text = read_text(path, setting).strip()
    except ConfigError as error:
        raise UnreadableError("error", f"{setting}: {path} {error.why}") from None
    if not text:
        raise UnreadableError("error", f"{setting}: {path} is empty")
    return text


def _no_passphrase() -> str:
    """Without it OpenSSL asks the terminal for one."""
    raise ValueError("the key needs a passphrase")
