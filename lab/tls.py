"""Certificates for TLS on loopback: an authority, a server's, a client's."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.programs import find_program

_AUTHORITY = """
[ca]
default_ca = lab
[lab]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
[of_server]
subjectAltName = DNS:localhost,IP:127.0.0.1
"""


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
            "--insecure",  # it also has to reach a server whose certificate is to be refused
            "--cert",
            str(self.client_certificate),
            "--key",
            str(self.client_key),
        ]


def issue_server_certificate(certificates: Certificates, *, names: str) -> None:
    """Another one of the server, by the same authority."""
    signed = ["-CA", str(certificates.ca), "-CAkey", str(certificates.ca.with_name("ca.key"))]
    files = certificates.server_certificate, certificates.server_key
    _request(*files, "/CN=localhost", f"subjectAltName={names}", *signed)


def expire_server_certificate(certificates: Certificates) -> None:
    """The same, valid until the end of 2020."""
    folder = certificates.ca.parent
    (folder / "index.txt").write_text("")
    config = folder / "authority.cnf"
    config.write_text(_AUTHORITY.format(folder=folder))
    openssl = find_program("openssl")
    request = [openssl, "x509", "-x509toreq", "-in", str(certificates.server_certificate)]
    signing = [openssl, "ca", "-batch", "-notext", "-config", str(config)]
    signing += ["-cert", str(certificates.ca), "-keyfile", str(certificates.ca.with_name("ca.key"))]
    signing += ["-startdate", "20200101000000Z", "-enddate", "20201231000000Z", "-extfile", str(config)]
    files = str(folder / "server.csr"), str(certificates.server_certificate)
    for command in (
        [*request, "-signkey", str(certificates.server_key), "-out", files[0]],
        [*signing, "-extensions", "of_server", "-in", files[0], "-out", files[1]],
    ):
        subprocess.run(command, check=True, capture_output=True)


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
    issue_server_certificate(certificates, names=names)
    usage = "extendedKeyUsage=clientAuth"
    _request(certificates.client_certificate, certificates.client_key, "/CN=client", usage, *signed)
    return certificates


def _request(certificate: Path, key: Path, subject: str, extension: str, *signed: str) -> None:
    """One certificate and its key: an elliptic curve, since an RSA key takes a second to generate."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        [
            *(find_program("openssl"), "req", "-x509", "-days", "1", "-subj", subject),
            *("-addext", extension, *curve, *files, *signed),
        ],
        check=True,
        capture_output=True,
    )
