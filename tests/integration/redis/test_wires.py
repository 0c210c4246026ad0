"""The wires of the tests and of the soak."""

from __future__ import annotations

import socket
import threading

from lab.ports import free_port
from lab.wires import BadWire, bad_wire


def test_a_wire_leads_on_once_what_it_leads_to_is_there_again() -> None:
    with bad_wire("127.0.0.1", free_port()) as wire:
        assert answer_over(wire) == b""
        with socket.create_server(("127.0.0.1", 0)) as server:
            wire.leads_to(*server.getsockname())
            answering = threading.Thread(target=answer_once, args=(server,), daemon=True)
            answering.start()
            assert answer_over(wire) == b"here"
            answering.join()


def answer_once(server: socket.socket) -> None:
    with server.accept()[0] as connection:
        connection.sendall(b"here")


def answer_over(wire: BadWire) -> bytes:
    """Nothing if the wire ends at once."""
    host, _, port = wire.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        return connection.recv(10)
