"""Certificate, key and client CA of a server that an engine asks, read again when their files change."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple, Protocol

from service.config.files import read_start
from service.files.from_files import FromFiles


class TlsFiles(Protocol):
    """Settings of files. `client_ca_file`: None if clients need no certificate of it."""

    @property
    def cert_file(self) -> str | None: ...
    @property
    def key_file(self) -> str | None: ...
    @property
    def client_ca_file(self) -> str | None: ...


class Certificates(NamedTuple):
    """PEM texts; `client_ca`: None if clients need no certificate."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class CertificateError(ValueError):
    """A file cannot be used; `setting` is its key in the settings of TLS."""

    def __init__(self, setting: str, why: str) -> None:
        super().__init__(why)
        self.setting = setting


def certificates_of(tls: TlsFiles) -> FromFiles[Certificates] | None:
    """The certificates; None without TLS. Raises CertificateError."""
    if tls.cert_file is None or tls.key_file is None:
        return None
    files = (tls.cert_file, tls.key_file, tls.client_ca_file)
    return FromFiles(files, lambda: read_certificates(tls), read_certificates(tls), secret=lambda _: None)


def read_certificates(tls: TlsFiles) -> Certificates:
    """As they are now. Raises CertificateError, also while one of two files that belong together is new."""
    read = _read(tls)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # The password, which no key of ours has, keeps OpenSSL from asking a terminal for one.
        context.load_cert_chain(str(tls.cert_file), str(tls.key_file), lambda: "")
    except (OSError, ssl.SSLError):
        raise CertificateError("cert_file", "is no PEM file of a certificate that the key is of") from None
    if tls.client_ca_file:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except (OSError, ssl.SSLError):
            raise CertificateError("client_ca_file", "is no PEM file of certificates") from None
    if _read(tls) != read:
        raise CertificateError("cert_file", "is being replaced")
    return read


def _read(tls: TlsFiles) -> Certificates:
    contents = {}
    for name in ("cert_file", "key_file", "client_ca_file"):
        path = getattr(tls, name)
        try:
            contents[name] = read_start(Path(path)) if path else None
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or "not a path"
            raise CertificateError(name, f"cannot be read: {why[:1].lower()}{why[1:]}") from None
    return Certificates(contents["cert_file"] or b"", contents["key_file"] or b"", contents["client_ca_file"])
