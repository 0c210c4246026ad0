"""A thread and at most one connection for each node and lane, so that a stuck node costs the others nothing.

A lane is a set of connections with one user (a scrape, the search for queues): a slow user blocks only
itself. A thread that is stuck where nothing can be bounded (a resolver, a connect) is given up on at the
deadline and picked up again when it comes back; a request that has waited past its own deadline is dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDoneError
from queue import SimpleQueue
from typing import Final, TypeAlias

from exporter.redis.connect import ClosedError, Connection
from exporter.redis.protocol import Reply, Request
from service.clock import Deadline, monotonic
from service.outcome import Failed, Ok, Outcome, UnreadableError

Replies: TypeAlias = "Outcome[list[Reply]]"
GRACE: Final = 0.05  # seconds past the deadline in which a thread may still say what exactly it waited for


class Pending:
    """A request on its way."""

    def __init__(self, asked: Request, deadline: Deadline) -> None:
        self.asked = asked
        self.deadline = deadline
        self.started = monotonic()
        self.future: Future[Replies] = Future()

    def outcome(self) -> Replies:
        """Wait until it is answered or late."""
        try:
            return self.future.result(max(0.0, self.deadline.at + GRACE - monotonic()))
        except NotDoneError:
            return self.late()

    def outcome_now(self) -> Replies:
        """What there is by now."""
        return self.future.result() if self.future.done() else self.late()

    def late(self) -> Failed:
        return Failed("timeout", "no answer in time", monotonic() - self.started)


class NodeConnection:
    """One node in one lane. `connect` opens a greeted connection or raises UnreadableError."""

    def __init__(self, name: str, connect: Callable[[Deadline], Connection]) -> None:
        self._connect = connect
        self._waiting: SimpleQueue[Pending | None] = SimpleQueue()
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, asked: Request, deadline: Deadline) -> Pending:
        pending = Pending(asked, deadline)
        self._waiting.put(pending)
        return pending

    def close(self) -> None:
        """End the thread once what it is at has been answered or is late. Does not wait for it."""
        self._waiting.put(None)

    def _run(self) -> None:
        while (pending := self._waiting.get()) is not None:
            pending.future.set_result(self._answer(pending))
        self._drop()

    def _answer(self, pending: Pending) -> Replies:
        try:
            replies = self._exchange(pending)
        except UnreadableError as error:
            self._drop()
            return Failed(error.kind, str(error), monotonic() - pending.started)
        except Exception as error:  # noqa: BLE001  # the thread must outlive what nobody thought of, and say it
            self._drop()
            return Failed(
                "error", f"{type(error).__name__} while talking to the node", monotonic() - pending.started
            )
        return Ok(replies, monotonic() - pending.started)

    def _exchange(self, pending: Pending) -> list[Reply]:
        if pending.deadline.passed():
            raise UnreadableError("timeout", "still waiting for an earlier answer")
        if self._connection is not None:
            try:
                return self._connection.exchange(pending.asked, pending.deadline)
            except ClosedError:
                # Restarted, or its idle time-out: only the connection is gone, and a read may be repeated.
                self._drop()
        self._connection = self._connect(pending.deadline)
        return self._connection.exchange(pending.asked, pending.deadline)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class ConnectionPools:
    """The channels, made at first use. `connect` opens a connection to a node by its address."""

    def __init__(self, connect: Callable[[str, Deadline], Connection]) -> None:
        self._connect = connect
        self._connections: dict[tuple[str, str], NodeConnection] = {}
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, pool: str, address: str, asked: Request, deadline: Deadline) -> Pending:
        with self._lock:
            if self._closed:
                refused = Pending(asked, deadline)
                refused.future.set_result(Failed("error", "shutting down"))
                return refused
            connection = self._connections.get((pool, address))
            if connection is None:
                connection = NodeConnection(
                    f"redis {pool} {address}", lambda bound: self._connect(address, bound)
                )
                self._connections[pool, address] = connection
            return connection.submit(asked, deadline)

    def keep_only(self, addresses: frozenset[str]) -> None:
        """Let go of nodes that are gone."""
        with self._lock:
            gone = [key for key in self._connections if key[1] not in addresses]
            connections = [self._connections.pop(key) for key in gone]
        for connection in connections:
            connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self.keep_only(frozenset())
