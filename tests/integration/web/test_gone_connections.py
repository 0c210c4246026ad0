"""Connections that are gone leave nothing for the search for cycles of garbage, which comes seldom: an
attacker opens thousands in a second."""

from __future__ import annotations

import gc
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lab.deadline import wait_until
from lab.tls import Certificates
from service.web.connections.protocol import BoundedProtocol
from service.web.server import WebServer
from service.web.web_config import WebConfig
from tests.support.asgi import serving

pytestmark = [pytest.mark.fault, pytest.mark.timeout(60)]

TIMES = 40
RESET = struct.pack("ii", 1, 0)
ASKED = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
BODY = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"


def left_of(server: WebServer, client: Callable[[socket.socket], None]) -> int:
    """The number of objects that only a search for cycles finds, after so many connections of this client."""
    host, _, port = server.address.rpartition(":")
    gc.collect()
    gc.disable()
    try:
        for _ in range(TIMES):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                client(connection)
            wait_until(lambda: len(server.traffic) == 0, what="it is gone", every=0.001)
        wait_until(
            lambda: not any(isinstance(value, BoundedProtocol) for value in gc.get_objects()),
            what="nobody holds one",
            seconds=5,
        )
        return gc.collect()
    finally:
        gc.enable()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def read(connection: socket.socket) -> None:
    connection.recv(1 << 16)


def read_and_reset(connection: socket.socket) -> None:
    read(connection)
    reset(connection)


def read_all(connection: socket.socket) -> None:
    while connection.recv(1 << 16):
        pass


@pytest.mark.parametrize(
    ("sent", "then"),
    [
        (b"", None),
        (ASKED, None),
        (ASKED, reset),
        (BODY, None),
        (BODY + b"{", None),
        (BODY + b"{", reset),
        (ASKED + b"\r\n", read),
        (ASKED + b"\r\n", reset),
        (ASKED + b"\r\n", read_and_reset),  # uvicorn waits for its next request
        (ASKED + b"Connection: close\r\n\r\n", read_all),
        (ASKED.replace(b"/healthz", b"/big") + b"\r\n", read),
        (ASKED.replace(b"/healthz", b"/big") + b"\r\n", reset),
        (b"\x16\x03\x01", read),
        (b"GET /\r\n\r\n", read),
    ],
)
def test_a_connection_that_is_gone_is_gone_at_once(
    sent: bytes, then: Callable[[socket.socket], None] | None
) -> None:
    def client(connection: socket.socket) -> None:
        connection.sendall(sent)
        if then:
            then(connection)

    with serving() as server:
        assert left_of(server, client) < TIMES


def with_tls(folder: Path, certificates: Certificates) -> WebConfig:
    files = {"cert_file": str(certificates.server_certificate), "key_file": str(certificates.server_key)}
    path = folder / "web.yml"
    path.write_text(yaml.safe_dump({"tls_server_config": files}))
    return WebConfig(str(path))


@pytest.mark.parametrize("sent", [b"", b"\x16", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello"])
def test_a_handshake_that_fails_is_gone_at_once(
    tmp_path: Path, certificates: Certificates, sent: bytes
) -> None:
    with serving(with_tls(tmp_path, certificates)) as server:
        left = left_of(server, lambda connection: connection.sendall(sent))
        assert left < 9 * TIMES  # a socket and what asyncio has around it; TLS would hold the protocol


def test_a_connection_with_tls_that_is_gone_is_gone_at_once(
    tmp_path: Path, certificates: Certificates
) -> None:
    trusted = ssl.create_default_context(cafile=str(certificates.ca))

    def client(connection: socket.socket) -> None:
        with trusted.wrap_socket(connection.dup(), server_hostname="localhost") as over_tls:
            over_tls.sendall(ASKED)

    with serving(with_tls(tmp_path, certificates)) as server:
        assert left_of(server, client) < 8 * TIMES  # a socket and what asyncio has around it, under its TLS
