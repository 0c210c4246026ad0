"""Certificates for TLS on loopback: an authority, a server's, a client's."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.programs import find_program


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """PEM files. The server's certificate names localhost and 127.0.0.1, the client's `client`."""

    ca: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    client_key: Path

    def redis_config(self) -> list[str]:
        """Lines of redis.conf: the server requires a client certificate of this authority."""
        return [
            f"tls-cert-file {self.server_certificate}",
            f"tls-key-file {self.server_key}",
            f"tls-ca-cert-file {self.ca}",
            "tls-auth-clients yes",
            "tls-replication yes",
        ]

    def cli_arguments(self) -> list[str]:
        return [
            "--tls",
            "--cacert",
            str(self.ca),
            "--cert",
            str(self.client_certificate),
            "--key",
            str(self.client_key),
        ]


def make_certificates(directory: Path, *, names: str = "DNS:localhost,IP:127.0.0.1") -> Certificates:
    """Write them into an existing directory; valid for a day. Each call makes a new authority. `names` are
    those of the server's certificate."""
    certificates = Certificates(
        ca=directory / "ca.crt",
        server_certificate=directory / "server.crt",
        server_key=directory / "server.key",
        client_certificate=directory / "client.crt",
        client_key=directory / "client.key",
    )
    ca_key = directory / "ca.key"
    _request(certificates.ca, ca_key, "/CN=Oxherd lab", "basicConstraints=critical,CA:TRUE")
    signed = ["-CA", str(certificates.ca), "-CAkey", str(ca_key)]
    subjects = f"subjectAltName={names}"
    _request(certificates.server_certificate, certificates.server_key, "/CN=localhost", subjects, *signed)
    usage = "extendedKeyUsage=clientAuth"
    _request(certificates.client_certificate, certificates.client_key, "/CN=client", usage, *signed)
    return certificates


def _request(certificate: Path, key: Path, subject: str, extension: str, *signed: str) -> None:
    """One certificate and its key: an elliptic curve, since an RSA key takes a second to generate."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        [
            *(find_program("openssl"), "req", "-x509", "-days", "1", "-subj", subject, "-addext", extension),
            *(*curve, *files, *signed),
        ],
        check=True,
        capture_output=True,
    )
