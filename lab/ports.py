"""Ports on loopback: free ports, and the processes that listen on the others."""

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

_used: set[int] = set()
_random = random.SystemRandom()  # several test processes must not share a seed


def free_port() -> int:
    """A port on which, as on its bus port, no process listens; never the same twice, in any process."""
    return free_ports(1)[0]


def free_ports(count: int) -> range:
    """As free_port, but `count` consecutive ports.

    They and their bus ports are below the range of Linux' ephemeral ports.
    """
    while True:
        first = _random.randrange(12_000, 22_000)
        ports = range(first, first + count)
        if _used.isdisjoint(ports) and all(_is_available(port) for port in ports):
            _used.update(ports)
            return ports


def who_listens(port: int) -> str | None:
    """The process that listens on a port of any address, as `name (pid N)`; None if there is none."""
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


def _is_available(port: int) -> bool:
    """Whether this process may use it: it is free and not reserved by another process."""
    return reserve(port) and _is_free(port) and _is_free(port + BUS_OFFSET)


def reserve(port: int) -> bool:
    """Reserve a port among the processes that use this module, until this one ends; False if it is taken."""
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@cache
def _reservations() -> int:
    """An open file; a lock on byte N reserves port N, and the kernel releases it when the process ends."""
    path = Path(tempfile.gettempdir()) / f"oxherd-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
