"""The web configuration file, in the format of the Prometheus exporters: TLS, client certificates, users with
bcrypt passwords, headers. Read again when it changes."""

from __future__ import annotations

import hmac
import logging
import secrets
import ssl
import threading
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

import bcrypt
import yaml
from pydantic import Field, ValidationError

from service.config.exposure import Exposure, readable_by_others, sent_without_tls
from service.config.load import Loaded, M
from service.config.marked_yaml import YAML_ERRORS
from service.config.model import Model
from service.config.reload import ContentWatch
from service.threads import Supervised
from service.turns.failed_attempts import FailedAttempts
from service.web.address import parse_listen
from service.web.latest_context import LatestContext

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 2.0
_MAX_KNOWN: Final = 100
_LONGEST: Final = 72  # bytes of a password that bcrypt looks at

ClientAuth = Literal[
    "NoClientCert",
    "RequestClientCert",
    "RequireAnyClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
]


class TlsServerConfig(Model):
    cert_file: str = Field(min_length=1)
    key_file: str = Field(min_length=1)
    client_auth_type: ClientAuth = "NoClientCert"
    client_ca_file: str = ""
    min_version: Literal["TLS12", "TLS13"] = "TLS12"
    max_version: Literal["TLS12", "TLS13"] = "TLS13"


class HttpServerConfig(Model):
    http2: bool = True  # not offered: clients fall back to 1.1
    headers: dict[
        Literal[
            "Content-Security-Policy",
            "X-Frame-Options",
            "X-Content-Type-Options",
            "X-XSS-Protection",
            "Strict-Transport-Security",
        ],
        str,
    ] = Field(default_factory=dict)


class WebFile(Model):
    tls_server_config: TlsServerConfig | None = None
    http_server_config: HttpServerConfig = HttpServerConfig()
    basic_auth_users: dict[str, str] = Field(default_factory=dict)


class WebConfigError(Exception):
    """The file cannot be used; the text names the key, and never repeats a password."""


def check_web_config(loaded: Loaded[M], path: str | None) -> None:
    """Raises ConfigError for a file that cannot be used."""
    try:
        if path:
            WebConfig(path)
    except WebConfigError as error:
        raise loaded.error("web_config_file", str(error), path) from None


def exposures(loaded: Loaded[Any], secret_files: Mapping[str, str | None]) -> list[Exposure]:
    """The secrets of a valid configuration that others may get to know; `secret_files` by setting."""
    path = loaded.model.web_config_file
    try:
        web = WebConfig(path) if path else None
    except WebConfigError:  # it was valid a moment ago; the start tells
        web = None
    key_file = web.key_file if web else None
    files = readable_by_others({**secret_files, "tls_server_config.key_file": key_file})
    if key_file is not None:
        return [*files]
    host, _ = parse_listen(loaded.model.listen)
    return [*files, *sent_without_tls(loaded, host, users=web is not None and web.has_users)]


class WebConfig:
    """The file as last read. For any number of threads; a change is swapped in as a whole."""

    def __init__(self, path: str) -> None:
        """Raises WebConfigError."""
        self._path = Path(path)
        self._file = self._read()
        self._watch = ContentWatch(self._files())
        tls = self._file.tls_server_config
        self.context: Final = LatestContext(self._context(tls)) if tls else None
        self._lock = threading.Lock()
        self.failures = FailedAttempts()
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._salt = secrets.token_bytes(32)
        self._nobody = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(10))
        self.task: Final = Supervised("web config", self._step, max_age=60.0)

    @property
    def key_file(self) -> str | None:
        """The file of the TLS key; None without TLS."""
        tls = self._file.tls_server_config
        return str(self._beside(tls.key_file)) if tls else None

    @property
    def has_users(self) -> bool:
        """Whether there are users."""
        return bool(self._file.basic_auth_users)

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of every answer."""
        return {str(name): value for name, value in self._file.http_server_config.headers.items()}

    def knows(self, user: str, password: str) -> bool:
        """Whether this password was right for the user before, and is still. At once."""
        return self._proof(user, password, self._file.basic_auth_users.get(user)) in self._known

    def authenticates(self, user: str, password: str) -> bool:
        """Whether this user has this password. Slow, as bcrypt has to be."""
        hashed = self._file.basic_auth_users.get(user)
        against = hashed.encode() if hashed is not None else self._nobody  # as slow for an unknown user
        right = bcrypt.checkpw(password.encode()[:_LONGEST], against) and hashed is not None
        if right:
            with self._lock:
                self._known[self._proof(user, password, hashed)] = None
                while len(self._known) > _MAX_KNOWN:
                    self._known.popitem(last=False)
        return right

    def _proof(self, user: str, password: str, hashed: str | None) -> bytes:
        """Of another hash, as after a change of the file, another one."""
        parts = (user.encode(), (hashed or "").encode(), password.encode())
        return hmac.digest(self._salt, b"\0".join(parts), sha256)

    # --- the file ----------------------------------------------------------------------------------------

    def _step(self) -> float:
        """Take over a changed file; one that cannot be used is reported, and the old one stays."""
        if not self._watch.changed(self._files()):
            return _POLL_SECONDS
        try:
            changed = self._read()
            tls = changed.tls_server_config
            if (self.context is None) != (tls is None):
                log.warning("switching TLS on or off needs a restart")
            if self.context is not None and tls is not None:
                self.context.latest = self._context(tls)
        except WebConfigError as error:
            log.warning("changed web config refused, previous one stays", extra={"error": str(error)})
            return _POLL_SECONDS
        self._file = changed
        self.failures = FailedAttempts()  # what was wrong may be right now
        log.info("web config reloaded")
        return _POLL_SECONDS

    def _read(self) -> WebFile:
        try:
            data = yaml.safe_load(self._path.read_text("utf-8"))
        except OSError as error:
            raise WebConfigError(f"cannot be read: {error.strerror}") from None
        except (*YAML_ERRORS, RecursionError):
            raise WebConfigError("is not YAML") from None
        try:
            file = WebFile.model_validate({} if data is None else data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"][:2]) or "the file"
            raise WebConfigError(f"{where}: {first['msg'].lower()}") from None
        for user, hashed in file.basic_auth_users.items():
            try:
                bcrypt.checkpw(b"", hashed.encode())
            except ValueError:
                raise WebConfigError(f"basic_auth_users.{user}: is not a bcrypt hash") from None
        tls = file.tls_server_config
        verifies = tls and tls.client_auth_type in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
        if tls and verifies and not tls.client_ca_file:
            raise WebConfigError("tls_server_config.client_ca_file: is needed for this client_auth_type")
        if tls and tls.client_auth_type in ("RequestClientCert", "RequireAnyClientCert"):
            raise WebConfigError(
                "tls_server_config.client_auth_type: accepts certificates that nobody verifies"
            )
        if tls and tls.client_ca_file and not verifies:
            raise WebConfigError(
                "tls_server_config.client_auth_type: client_ca_file is set, but no certificate is requested"
            )
        return file

    def _context(self, tls: TlsServerConfig) -> ssl.SSLContext:
        """Raises WebConfigError."""
        versions = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = (
            versions[tls.min_version],
            versions[tls.max_version],
        )
        self._load_pair(context, tls)
        if tls.client_ca_file:
            try:
                context.load_verify_locations(self._beside(tls.client_ca_file))
            except (OSError, ssl.SSLError) as error:
                raise WebConfigError(f"tls_server_config.client_ca_file: {_why(error)}") from None
            required = tls.client_auth_type == "RequireAndVerifyClientCert"
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        return context

    def _load_pair(self, context: ssl.SSLContext, tls: TlsServerConfig) -> None:
        try:
            # The password, which no key of ours has, keeps OpenSSL from asking a terminal for one.
            context.load_cert_chain(self._beside(tls.cert_file), self._beside(tls.key_file), lambda: "")
        except (OSError, ssl.SSLError) as error:
            raise WebConfigError(f"tls_server_config.cert_file, key_file: {_why(error)}") from None

    def _beside(self, name: str) -> Path:
        """Names in the file are relative to its folder."""
        return self._path.parent / name

    def _files(self) -> list[Path]:
        """The file, and those that it names."""
        tls = self._file.tls_server_config
        named = (tls.cert_file, tls.key_file, tls.client_ca_file) if tls else ()
        return [self._path, *(self._beside(name) for name in named if name)]


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "is not a PEM file of that kind, or does not fit"
    return f"cannot be read: {error.strerror}"
