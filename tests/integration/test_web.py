"""The web server's thread: what it listens on, how it stops."""

from __future__ import annotations

import socket
import threading

import httpx
import pytest

from service.web.server import BindError, WebServer
from tests.support.asgi import App


def test_it_serves_at_once_and_stops() -> None:
    server = WebServer(App(), "127.0.0.1", 0)
    with pytest.raises(RuntimeError):
        _ = server.address
    server.start()
    url = f"http://{server.address}"
    with httpx.Client(base_url=url) as client:
        assert [client.get("/").text for _ in range(3)] == ["ok"] * 3
        assert "server" not in client.get("/").headers
        assert server.alive
        assert server.stop()  # though a connection is kept open
    assert not server.alive
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_a_request_that_hangs_does_not_keep_it() -> None:
    app = App()
    server = WebServer(app, "127.0.0.1", 0)
    server.start()
    asking = threading.Thread(target=_ask, args=(f"http://{server.address}/hang",))
    asking.start()
    assert app.hanging.wait(5)
    try:
        assert not server.stop(0.1)
    finally:
        app.release.set()
    assert server.stop()
    asking.join(5)
    assert not asking.is_alive()


def _ask(url: str) -> None:
    try:
        httpx.get(url, timeout=10)
    except httpx.HTTPError:
        return


def test_small_answers_are_not_held_back() -> None:
    server = WebServer(App(), "127.0.0.1", 0)
    server.start()
    assert server._socket is not None
    assert server._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert server.stop()


@pytest.mark.parametrize(
    ("host", "why"), [("nowhere.invalid", "name"), ("192.0.2.1", "cannot assign requested address")]
)
def test_an_address_that_is_not_ours(host: str, why: str) -> None:
    server = WebServer(App(), host, 1)
    with pytest.raises(BindError, match=why) as caught:
        server.start()
    assert "while attempting" not in str(caught.value)
    assert server.stop()
