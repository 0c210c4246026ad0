"""A thread and at most one connection for each node and pool, so that a node that hangs delays no other node.

A pool is a set of connections with one user (a scrape, queue discovery): a slow user blocks only itself.
A thread that hangs where no deadline can be set (a resolver, a connect) is abandoned at the deadline and
used again when it returns; a request that has waited past its own deadline is dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDoneError
from dataclasses import dataclass
from itertools import count
from math import inf
from queue import SimpleQueue
from typing import Final, TypeAlias

from exporter.redis.connect import ClosedError, Connection
from exporter.redis.protocol import Reply, Request
from service.clock import Deadline, boottime, monotonic
from service.outcome import Failed, Ok, Outcome, UnreadableError
from service.threads import NoThreadError, start_thread

Replies: TypeAlias = "Outcome[list[Reply]]"
_NUMBERS: Final = count(1)
GRACE: Final = 0.05  # seconds past the deadline in which a thread may still report what it waited for


@dataclass(frozen=True, slots=True)
class Exchange(Ok[list[Reply]]):
    """Replies, and when (seconds of `boottime`) the request was sent and the last of them had arrived."""

    sent: float = 0.0
    received: float = 0.0


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """One connection: the node it is for, the host that was connected to, and the IP that this was then."""

    address: str
    host: str
    ip: str
    connection: NodeConnection


class Pending:
    """A request that was submitted and may not have its replies yet."""

    def __init__(self, request: Request, deadline: Deadline) -> None:
        self.request = request
        self.deadline = deadline
        self.started = monotonic()
        self.future: Future[Replies] = Future()

    def outcome(self) -> Replies:
        """Wait for the replies, or for the deadline."""
        try:
            return self.future.result(max(0.0, self.deadline.at + GRACE - monotonic()))
        except NotDoneError:
            return self.timeout()

    def outcome_now(self) -> Replies:
        """The outcome without waiting: the replies if they are there, else a timeout."""
        return self.future.result() if self.future.done() else self.timeout()

    def timeout(self) -> Failed:
        return Failed("timeout", "no answer in time", monotonic() - self.started)


class NodeConnection:
    """One node in one pool. `connect` opens a connection that is ready for use, or raises UnreadableError."""

    def __init__(self, name: str, connect: Callable[[Deadline], Connection], max_age: float) -> None:
        self._connect = connect
        self._max_age = max_age
        self._opened_at = 0.0
        self._requests: SimpleQueue[Pending | None] = SimpleQueue()
        self._connection: Connection | None = None
        self._number = 0
        self._outdated = False
        self.under_way = 0.0
        """Seconds that requests took which were answered, from the first byte sent to the last received."""
        self._name = name
        self._thread: threading.Thread | None = None

    def submit(self, request: Request, deadline: Deadline) -> Pending:
        """Not for two threads at once. Without a thread, and without room for one, it has failed at once."""
        pending = Pending(request, deadline)
        try:
            if self._thread is None or not self._thread.is_alive():
                self._thread = start_thread(self._run, self._name)
        except NoThreadError as error:
            pending.future.set_result(Failed("error", str(error)))
        else:
            self._requests.put(pending)
        return pending

    @property
    def connection(self) -> Connection | None:
        """The open connection, which the thread of this object may close at any time."""
        return self._connection

    @property
    def number(self) -> int:
        """Differs from that of each other connection; 0 while there is none."""
        return self._number if self._connection is not None else 0

    def renew(self) -> None:
        """Connect again before the next request; a request that runs keeps its connection."""
        self._outdated = True

    def close(self) -> None:
        """End the thread once its current request has its replies or is late. Does not wait for it."""
        self._requests.put(None)

    def _run(self) -> None:
        try:
            while (pending := self._requests.get()) is not None:
                pending.future.set_result(self._outcome(pending))
                del pending  # not until the next request: 10,000 queues are 10 MB of replies
        finally:  # also if it ends by itself: replies may be left that the next request must not get
            self._drop()

    def _outcome(self, pending: Pending) -> Replies:
        try:
            return self._exchange(pending)
        except UnreadableError as error:
            self._drop()
            return Failed(error.kind, str(error), monotonic() - pending.started)
        except Exception as error:  # noqa: BLE001  # the thread must survive any error, and report it
            self._drop()
            return Failed(
                "error",
                f"{type(error).__name__} in the exchange with the node",
                monotonic() - pending.started,
            )

    def _exchange(self, pending: Pending) -> Replies:
        if pending.deadline.passed():
            raise UnreadableError("timeout", "still waiting for an earlier reply")
        if self._outdated:
            self._drop()
        if self._connection is not None and monotonic() - self._opened_at >= self._max_age:
            self._replace(pending.deadline)
        if self._connection is not None:
            try:
                return self._send(self._connection, pending)
            except ClosedError:
                # A restart or an idle time-out closed only the connection, and a read may be repeated.
                self._drop()
        self._outdated = False  # before connecting: a renewal that is asked for meanwhile counts
        self._connection = self._connect(pending.deadline)
        self._number = next(_NUMBERS)
        self._opened_at = monotonic()
        return self._send(self._connection, pending)

    def _replace(self, deadline: Deadline) -> None:
        """Connect again: behind an address (a Service, a load balancer) there may be another server by now.

        If that fails the old connection stays: a password that has changed since does not end monitoring.
        """
        self._opened_at = monotonic()
        try:
            connection = self._connect(deadline.at_most(deadline.remaining() / 2))
        except UnreadableError:
            return
        self._drop()
        self._connection = connection
        self._number = next(_NUMBERS)

    def _send(self, connection: Connection, pending: Pending) -> Replies:
        sent = boottime()
        replies = connection.exchange(pending.request, pending.deadline)
        received = boottime()
        self.under_way += received - sent
        return Exchange(replies, monotonic() - pending.started, sent, received)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class ConnectionPools:
    """The connections, opened at first use, and again when they are `max_age` seconds old. `connect` opens a
    connection to a node by its address."""

    def __init__(self, connect: Callable[[str, Deadline], Connection], max_age: float = inf) -> None:
        self._connect = connect
        self._max_age = max_age
        self._connections: dict[tuple[str, str], NodeConnection] = {}
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, pool: str, address: str, request: Request, deadline: Deadline) -> Pending:
        with self._lock:
            if self._closed:
                pending = Pending(request, deadline)
                pending.future.set_result(Failed("error", "shutting down"))
                return pending
            connection = self._connections.get((pool, address))
            if connection is None:
                connection = NodeConnection(
                    f"redis {pool} {address}",
                    lambda deadline: self._connect(address, deadline),
                    self._max_age,
                )
                self._connections[pool, address] = connection
            return connection.submit(request, deadline)

    def number(self, pool: str, address: str) -> int:
        """The number of the open connection; 0 without one."""
        with self._lock:
            connection = self._connections.get((pool, address))
        return 0 if connection is None else connection.number

    def renew(self, address: str) -> None:
        """Connect to this node again before each pool's next request, which resolves its name again."""
        with self._lock:
            connections = [item for key, item in self._connections.items() if key[1] == address]
        for connection in connections:
            connection.renew()

    def peers(self) -> list[OpenConnection]:
        """The open connections."""
        with self._lock:
            items = list(self._connections.items())
        open_now = [(key[1], item, item.connection) for key, item in items]
        return [
            OpenConnection(address, connection.host, connection.ip, item)
            for address, item, connection in open_now
            if connection is not None and connection.ip
        ]

    def under_way(self, address: str) -> dict[str, float]:
        """Seconds that the requests of each pool to this node took since it was connected to."""
        with self._lock:
            return {key[0]: item.under_way for key, item in self._connections.items() if key[1] == address}

    def keep_only(self, addresses: frozenset[str]) -> None:
        """Close the connections to all other nodes."""
        with self._lock:
            keys = [key for key in self._connections if key[1] not in addresses]
            connections = [self._connections.pop(key) for key in keys]
        for connection in connections:
            connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self.keep_only(frozenset())
