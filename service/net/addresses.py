"""Addresses of host names. The resolver knows no time-out of ours, so it runs in a thread that may be left
behind: in few of them for a name, however often it is asked for while it hangs."""

from __future__ import annotations

import socket
import threading
from ipaddress import ip_address
from typing import Any, Final, TypeAlias

from service.clock import Deadline, monotonic
from service.threads import NoThreadError, start_thread

Address: TypeAlias = tuple[Any, Any, int, str, Any]
"""Family, kind, protocol, canonical name and socket address, as `socket.getaddrinfo` has them."""

_MOST: Final = 4
"""Threads that may hang for one name."""
_PATIENCE: Final = 30.0
"""Seconds, after which another one is tried: so a resolver that works again is noticed."""


def addresses_of(host: str, port: int, deadline: Deadline) -> list[Address]:
    """Those of a TCP port. Who asks for the same while it is looked up gets the same answer.

    Raises OSError: socket.gaierror where there is none, TimeoutError at the deadline.
    """
    if _is_literal(host):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    look_up, is_new = _joined((host, port))
    if is_new:
        try:
            start_thread(look_up.run, f"resolve {host}")
        except NoThreadError:  # in this one, then: without a time-out, but not without an answer
            look_up.run()
    return look_up.outcome(deadline)


def _is_literal(host: str) -> bool:
    """Whether it is an address itself, which no resolver is asked for."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


class _LookUp:
    def __init__(self, target: tuple[str, int]) -> None:
        self.begun: Final = monotonic()
        self._target = target
        self._done = threading.Event()
        self._found: list[Address] = []
        self._problem: type[OSError] = OSError
        self._why: tuple[Any, ...] = ()

    def run(self) -> None:
        host, port = self._target
        try:
            self._found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            self._problem, self._why = type(error), error.args
        except UnicodeError:
            self._problem, self._why = socket.gaierror, (socket.EAI_NONAME, "it is not a valid host name")
        finally:
            _leave(self._target, self)
            self._done.set()

    def outcome(self, deadline: Deadline) -> list[Address]:
        if not self._done.wait(max(0.0, deadline.remaining())):
            raise TimeoutError
        if self._why:
            raise self._problem(*self._why)  # an error of its own for each who asked
        return self._found


_running: Final[dict[tuple[str, int], list[_LookUp]]] = {}
_lock: Final = threading.Lock()


def _joined(target: tuple[str, int]) -> tuple[_LookUp, bool]:
    """The look-up of this, and whether it has yet to begin."""
    with _lock:
        running = _running.setdefault(target, [])
        if running and (len(running) >= _MOST or monotonic() < running[-1].begun + _PATIENCE):
            return running[-1], False
        running.append(_LookUp(target))
        return running[-1], True


def _leave(target: tuple[str, int], look_up: _LookUp) -> None:
    with _lock:
        running = _running[target]
        running.remove(look_up)
        if not running:
            del _running[target]
