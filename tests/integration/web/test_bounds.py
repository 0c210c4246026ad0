"""What holds for each connection of the server: its time-outs, what is ambiguous, how it ends."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
import yaml

from lab.deadline import wait_until
from lab.tls import Certificates
from service.web.connections import listener, traffic
from service.web.server import WebServer
from service.web.web_config import WebConfig
from tests.support.asgi import BIG, App, BigApp, serving

pytestmark = [pytest.mark.fault, pytest.mark.timeout(60)]  # up to 8 s alone


def connected(server: WebServer) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def ended(connection: socket.socket) -> float:
    """Seconds until the server ends it; what it sends before is read."""
    begun = time.monotonic()
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - begun


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST /hang HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
def test_a_request_has_to_be_whole_in_time(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(traffic, "REQUEST_SECONDS", 1.0)
    with serving() as server, connected(server) as connection:
        connection.sendall(sent)
        dripping = threading.Event()

        def drip() -> None:
            while not dripping.wait(0.2):
                try:
                    connection.sendall(b"a")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        seconds = ended(connection)
        dripping.set()
        thread.join(5)
        assert 0.5 < seconds < 4
        assert server.traffic.refused["slow_request"] == 1
        wait_until(lambda: len(server.traffic) == 0, what="it is gone")
        app = server._server.config.app
        assert isinstance(app, BigApp)
        app.release.set()


def test_a_handshake_has_to_be_done_in_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, certificates: Certificates
) -> None:
    monkeypatch.setattr(listener, "REQUEST_SECONDS", 1.0)
    files = {"cert_file": str(certificates.server_certificate), "key_file": str(certificates.server_key)}
    path = tmp_path / "web.yml"
    path.write_text(yaml.safe_dump({"tls_server_config": files}))
    with serving(WebConfig(str(path))) as server, connected(server) as connection:
        wait_until(lambda: len(server.traffic) == 1, what="it counts from its acceptance on")
        assert 0.5 < ended(connection) < 4
        wait_until(lambda: len(server.traffic) == 0, what="it is gone")
        trusted = ssl.create_default_context(cafile=str(certificates.ca))
        assert len(httpx.get(f"https://{server.address}/big", verify=trusted).content) == len(BIG)


@pytest.mark.parametrize("reads", [0, 1 << 10])
def test_an_answer_has_to_be_taken_in_time(monkeypatch: pytest.MonkeyPatch, reads: int) -> None:
    """Also by a client that takes a little again and again."""
    monkeypatch.setattr(traffic, "_ANSWER_SECONDS", 1.5)
    with serving() as server, connected(server) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        begun = time.monotonic()
        while server.traffic.refused["slow_reader"] == 0 and time.monotonic() - begun < 10:
            time.sleep(0.1)
            if reads:
                connection.recv(reads)
        assert server.traffic.refused["slow_reader"] == 1
        wait_until(lambda: len(server.traffic) == 0, what="it is gone")


def test_an_answer_comes_whole_to_a_client_that_takes_its_time() -> None:
    with serving() as server, connected(server) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = bytearray()
        while part := connection.recv(1 << 18):
            received += part
            time.sleep(0.005)
        assert received.partition(b"\r\n\r\n")[2] == BIG


AMBIGUOUS = (
    b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: 5, 6",
    b"Content-Length: +5",
    b"Content-Length: -1",
    b"Content-Length: 5 5",
    b"Content-Length : 5",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"X: a\r\n Content-Length: 5\r\nX\x00: b",
    b"Transfer-Encoding\t: chunked",
)


@pytest.mark.parametrize("headers", AMBIGUOUS)
def test_an_ambiguous_request_is_refused_and_nothing_after_it_is_answered(headers: bytes) -> None:
    second = b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving() as server, connected(server) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\n0\r\n\r\n" + second)
        received = bytearray()
        try:
            while part := connection.recv(1 << 16):
                received += part
        except ConnectionResetError:
            pass
        assert received.startswith(b"HTTP/1.1 400 ")
        assert received.count(b"HTTP/1.1 ") == 1
        assert server.traffic.refused["invalid"] == 1


def test_a_body_in_thousands_of_chunks_is_refused_and_holds_up_nobody() -> None:
    opening = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving() as server, ExitStack() as undo:
        with connected(server) as connection:
            connection.sendall(opening + b"40\r\n" + b"x" * 64 + b"\r\n" + b"1\r\nx\r\n" * 900 + b"0\r\n\r\n")
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        connections = [undo.enter_context(connected(server)) for _ in range(20)]
        for connection in connections:
            with suppress(OSError):
                connection.sendall(opening + b"1\r\nx\r\n" * 40_000)
        assert httpx.get(f"http://{server.address}/", timeout=10).text == "ok"
        wait_until(lambda: server.traffic.refused["invalid"] == 20, what="all are refused")


@pytest.mark.parametrize("length", [b"Expect: 100-continue", b"X: y"])
def test_what_is_not_http_after_an_answer_leaves_no_line_in_the_log(
    length: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is there before the body, as no application reads so much."""
    caplog.set_level(logging.WARNING)
    with serving() as server, connected(server) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + length + b"\r\n\r\n"
        )
        connection.sendall(b"20000\r\n" + b"x" * 0x20000)
        assert b"HTTP/1.1 200 " in connection.recv(1 << 16)
        connection.sendall(b"\r\nnot a number\r\n")
        ended(connection)
        wait_until(lambda: len(server.traffic) == 0, what="it is gone")
        assert server.traffic.refused["invalid"] == 1
    assert caplog.records == []


@pytest.mark.parametrize("path", ["/hang", "/big"])
def test_a_stop_leaves_no_traceback(path: str, caplog: pytest.LogCaptureFixture) -> None:
    app = BigApp()
    server = WebServer(app, "127.0.0.1", 0)
    server.start()
    connections = [connected(server) for _ in range(30)]
    for connection in connections:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    if path == "/hang":
        assert app.hanging.wait(10)
    wait_until(lambda: len(server.traffic) == 30, what="all are there")
    releasing = threading.Timer(3, app.release.set)
    releasing.start()
    begun = time.monotonic()
    server.stop(8)
    assert time.monotonic() - begun < 6
    for connection in connections:
        connection.close()
    releasing.join()
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_client_that_leaves_leaves_no_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with serving() as server:
        for sent in (
            b"\x16\x03\x01",
            b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nUpgrade: h2c\r\n",
        ):
            for _ in range(20):
                with connected(server) as connection:
                    connection.sendall(sent)
        wait_until(lambda: len(server.traffic) == 0, what="all are gone")
    assert caplog.records == []


def test_connections_beyond_the_highest_number_take_the_place_of_those_that_wait() -> None:
    server = WebServer(App(), "127.0.0.1", 0)
    object.__setattr__(server.traffic, "most", 50)
    server.start()
    waiting = [connected(server) for _ in range(120)]
    try:
        with httpx.Client(base_url=f"http://{server.address}") as client:
            assert client.get("/").text == "ok"
        assert len(server.traffic) <= 50
        assert server.traffic.refused["full"] >= 70
    finally:
        for connection in waiting:
            connection.close()
        assert server.stop()
