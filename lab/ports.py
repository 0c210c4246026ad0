"""Ports on loopback: which are free, and who has the others."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

import psutil

BUS_OFFSET: Final = 10_000
"""A cluster node's bus listens this far above its port."""

_given: set[int] = set()
_random = random.SystemRandom()  # no seed that several processes of tests may share


def free_port() -> int:
    """A port that nobody listens on, nor on its bus port; never the same twice, in any process."""
    return free_ports(1)[0]


def free_ports(count: int) -> range:
    """As free_port, but so many in a row.

    They and their bus ports lie below the range from which Linux takes the ports of outgoing connections.
    """
    while True:
        first = _random.randrange(12_000, 22_000)
        ports = range(first, first + count)
        if _given.isdisjoint(ports) and all(_is_ours(port) for port in ports):
            _given.update(ports)
            return ports


def who_listens(port: int) -> str | None:
    """The process that listens on a port, as `name (pid N)`, on whatever address; None when nobody does."""
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            if connection.pid is None:
                return "a process of another user"
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                return None
    return None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _is_ours(port: int) -> bool:
    """Whether this process may have it: it is free, and no other process was given it."""
    return reserve(port) and _is_free(port) and _is_free(port + BUS_OFFSET)


def reserve(port: int) -> bool:
    """Keep a port from other processes that ask here, until this one ends; False if one of them has it."""
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@cache
def _reservations() -> int:
    """An open file; a lock of its byte N reserves port N, and the kernel ends it with the process."""
    path = Path(tempfile.gettempdir()) / f"oxherd-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
