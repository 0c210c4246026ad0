"""Connections that are lost and made again leave nothing for the collector of cycles, which seldom looks."""

from __future__ import annotations

import gc
import socket
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress

import pytest

from exporter.redis.connect import Connection, ConnectionOptions, open_connection
from exporter.redis.pool import ConnectionPools
from exporter.redis.protocol import pack_request
from service.clock import Deadline

pytestmark = pytest.mark.fault

PING = pack_request([("PING",)])
TIMES = 40


@pytest.fixture
def no_search_for_cycles() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a server that sends these bytes for each request, and then closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        for answer in request.param:
                            connection.recv(4096)
                            connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.mark.usefixtures("no_search_for_cycles")
@pytest.mark.parametrize(
    "server",
    [(b"+OK\r\n", b"+PONG\r\n"), (b"+OK\r\n", b"+PO"), (b"+OK\r\n",), (b"+O",), (b"HTTP/1.1 400\r\n",)],
    indirect=True,
)
def test_connections_lost_and_made_again_go_without_a_search_for_cycles(server: int) -> None:
    made: list[weakref.ref[Connection]] = []

    def connect(_: str, deadline: Deadline) -> Connection:
        connection = open_connection("127.0.0.1", server, ConnectionOptions(), deadline)
        made.append(weakref.ref(connection))
        return connection

    pools = ConnectionPools(connect)
    for _ in range(TIMES):
        pools.submit("redis", "a:1", PING, Deadline.after(5)).outcome()
    assert sum(connection() is not None for connection in made) <= 1
    pools.close()
