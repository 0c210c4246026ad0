"""Host names that lead to another server than the one we are connected to: those connections are renewed.

A primary endpoint of a cloud, a Service of Kubernetes or a name that is switched (blue/green) moves while
the old connection stays open, to a server that nobody uses any more. Names are resolved in a thread of their
own: a resolver that hangs or fails delays nothing, and costs no connection.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from exporter.redis.connection.endpoints import is_name, same_ip
from exporter.redis.pool import OpenConnection
from service.clock import Deadline, monotonic
from service.net.addresses import addresses_of
from service.threads import NoThreadError, start_thread

log = logging.getLogger(__name__)

_RESOLVE_SECONDS: Final = 10.0


class NameCheck:
    """Resolves the names of open connections once per `interval` seconds, when `start_if_due` is called."""

    def __init__(self, peers: Callable[[], Iterable[OpenConnection]], interval: float) -> None:
        self._peers = peers
        self._interval: Final = interval
        self._due = monotonic() + interval
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start_if_due(self) -> None:
        """Returns at once; at most one thread runs."""
        if monotonic() < self._due:
            return
        with self._lock:
            if monotonic() < self._due or (self._thread is not None and self._thread.is_alive()):
                return
            self._due = monotonic() + self._interval
            with suppress(NoThreadError):  # the next time, then
                self._thread = start_thread(self.check, "redis names")

    def check(self) -> None:
        """Renew each connection whose IP its name does not lead to now; a failed look-up changes nothing."""
        by_host: dict[str, list[OpenConnection]] = {}
        for peer in self._peers():
            if is_name(peer.host):
                by_host.setdefault(peer.host, []).append(peer)
        for host, peers in by_host.items():
            addresses = _resolve(host)
            moved = [peer for peer in peers if not any(same_ip(peer.ip, address) for address in addresses)]
            if not addresses or not moved:
                continue
            log.warning(
                "host name leads to another server",
                extra={"node": moved[0].address, "host": host, "old": moved[0].ip, "new": min(addresses)},
            )
            for peer in moved:
                peer.connection.renew()


def _resolve(host: str) -> set[str]:
    try:
        found = addresses_of(host, 0, Deadline.after(_RESOLVE_SECONDS))
    except OSError:
        return set()
    return {str(sockaddr[0]) for *_, sockaddr in found}
