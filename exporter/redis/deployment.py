"""The deployment: knows the nodes, and is the only part that sends commands to them."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as NotDoneError
from functools import partial
from typing import Final

from exporter.address import REDIS_PORT, SENTINEL_PORT, RedisUrl, join_address, parse_url, split_address
from exporter.config.settings import RedisSettings
from exporter.redis.connect import Connection, ConnectionOptions, open_connection, tls_context
from exporter.redis.find import find_nodes, find_request, find_sentinel_nodes
from exporter.redis.pool import GRACE, ConnectionPools, Pending, Replies
from exporter.redis.protocol import Reply, Request
from exporter.redis.sentinel import sentinel_addresses, sentinel_request
from exporter.snapshot import Mode, Topology
from service.clock import Deadline
from service.outcome import Ok, Outcome, UnreadableError

_SETTLE: Final = 0.25  # seconds that other seeds get after the first reply: a dead seed delays no start
_DEFAULT: Final = "127.0.0.1:6379"


class Deployment:
    """One server, one Sentinel set or one cluster. Constructing it does no I/O.

    Raises ValueError for an invalid URL or address, with a text that is safe to show.
    """

    def __init__(self, settings: RedisSettings) -> None:
        url = parse_url(settings.url.get_secret_value()) if settings.url else None
        self._settings = settings
        self._url = url or RedisUrl(_DEFAULT, tls=False)
        self._tls = settings.tls.enabled or self._url.tls
        self.expected_mode: Final[Mode] = _expected_mode(settings)
        self.seeds: Final = _seeds(settings, self._url)
        self.sentinel_master: Final = settings.sentinel_master
        self._sentinels = frozenset(self.seeds if self.expected_mode == "sentinel" else ())
        self._pools = ConnectionPools(self._connect)
        self._lock = threading.Lock()
        self._topology: Topology | None = None
        self._hostnames: dict[str, str] = {}
        self._context: ssl.SSLContext | None = None
        self._discovery: Future[Topology] | None = None

    @property
    def sentinels(self) -> frozenset[str]:
        """The known sentinels, including those of the settings; empty in the other modes."""
        return self._sentinels

    @property
    def database(self) -> int:
        """The number of the database that is read; a cluster has only 0."""
        return 0 if self.expected_mode == "cluster" else self._url.database or self._settings.database

    def topology(self, deadline: Deadline) -> Topology:
        """The current topology, discovered at first use. Raises UnreadableError."""
        return self._topology or self.refresh(deadline)

    def refresh(self, deadline: Deadline) -> Topology:
        """Read the topology from the seeds and the known nodes; concurrent callers share one run.

        Raises UnreadableError: `SeedsUnreadableError` has the failure of each seed.
        """
        with self._lock:
            shared = self._discovery
            future: Future[Topology] = Future()
            if shared is None:
                self._discovery = future
        if shared is not None:
            try:
                return shared.result(deadline.remaining())
            except NotDoneError:
                raise UnreadableError("timeout", "node discovery is still running") from None
        try:
            future.set_result(self._discover(deadline))
        except BaseException as error:
            future.set_exception(error)
            raise
        finally:
            with self._lock:
                self._discovery = None
        return future.result()

    def update(self, topology: Topology, sentinels: Iterable[str] = ()) -> None:
        """Make the topology of a collection the current one, and close the connections to removed nodes."""
        with self._lock:
            self._topology = topology
            self._hostnames = {node.address: node.hostname for node in topology.nodes if node.hostname}
            if self.expected_mode == "sentinel":
                self._sentinels = frozenset(sentinels).union(self.seeds) if sentinels else self._sentinels
            nodes = frozenset(node.address for node in topology.nodes)
            addresses = nodes | self._sentinels | frozenset(self.seeds)
        self._pools.keep_only(addresses)

    def execute(
        self, requests: Mapping[str, Request], deadline: Deadline, *, pool: str
    ) -> dict[str, Outcome[list[Reply]]]:
        """Each node's replies, by address: one write and one read for each node, all nodes in parallel.

        Every node is bounded by the deadline and by `timeout_seconds`, whatever is slow: resolver, connect,
        TLS, AUTH or the reply. Never raises for a node.
        """
        pending = self._submit(requests, deadline, pool)
        return {address: pending_request.outcome() for address, pending_request in pending.items()}

    def connect(self, address: str, deadline: Deadline) -> Connection:
        """A connection of its own, outside of all pools, which the caller closes. Raises UnreadableError."""
        return self._connect(address, deadline)

    def close(self) -> None:
        """Close the connections. Does not wait for nodes that are late."""
        self._pools.close()

    def _submit(self, requests: Mapping[str, Request], deadline: Deadline, pool: str) -> dict[str, Pending]:
        bound = deadline.at_most(self._settings.timeout_seconds)
        return {
            address: self._pools.submit(pool, address, request, bound)
            for address, request in requests.items()
        }

    def _discover(self, deadline: Deadline) -> Topology:
        if self.expected_mode == "sentinel":
            requests = dict.fromkeys(sorted(self._sentinels), sentinel_request(self.sentinel_master))
            views, topology = find_sentinel_nodes(
                self.sentinel_master, self._execute_until_first(requests, deadline)
            )
            self.update(topology, sentinel_addresses(views))
        else:
            known = [node.address for node in self._topology.nodes] if self._topology else []
            requests = dict.fromkeys([*self.seeds, *known], find_request())
            topology = find_nodes(self.expected_mode, self._execute_until_first(requests, deadline))
            self.update(topology)
        return topology

    def _execute_until_first(self, requests: Mapping[str, Request], deadline: Deadline) -> dict[str, Replies]:
        """Like `execute`, but after the first reply the other nodes get only `_SETTLE`."""
        bound = deadline.at_most(self._settings.timeout_seconds)
        pending = self._submit(requests, bound, "redis")
        give_up = Deadline(bound.at + GRACE)
        waiting: set[Future[Replies]] = {pending_request.future for pending_request in pending.values()}
        has_reply = False
        while waiting and not has_reply:
            done, waiting = wait(waiting, give_up.remaining(), FIRST_COMPLETED)
            has_reply = not done or any(isinstance(future.result(), Ok) for future in done)
        wait(waiting, give_up.at_most(_SETTLE).remaining())
        return {address: pending_request.outcome_now() for address, pending_request in pending.items()}

    def _connect(self, address: str, deadline: Deadline) -> Connection:
        host, port = _connect_target(address, self._settings.address_map)
        return open_connection(host, port, self._connection_options(address), deadline)

    def _connection_options(self, address: str) -> ConnectionOptions:
        settings = self._settings
        # Nodes announce IPs; if they announce host names too, the certificates are for those.
        server_name = settings.tls.server_name or self._hostnames.get(address)
        options = partial(ConnectionOptions, tls=self._tls_context(), server_name=server_name)
        if address in self._sentinels:
            password = settings.sentinel_password
            return options(settings.sentinel_username, password.get_secret_value() if password else None)
        return options(
            self._url.username or settings.username,
            self._url.password or (settings.password.get_secret_value() if settings.password else None),
            self.database,
        )

    def _tls_context(self) -> ssl.SSLContext | None:
        if self._tls and self._context is None:
            self._context = tls_context(self._settings.tls)
        return self._context


def _expected_mode(settings: RedisSettings) -> Mode:
    """The mode that the settings name; a URL may still lead to a cluster."""
    if settings.sentinels:
        return "sentinel"
    return "cluster" if settings.cluster else "standalone"


def _seeds(settings: RedisSettings, url: RedisUrl) -> tuple[str, ...]:
    if settings.sentinels:
        return tuple(join_address(*split_address(text, SENTINEL_PORT)) for text in settings.sentinels)
    if settings.cluster:
        return tuple(join_address(*split_address(text, REDIS_PORT)) for text in settings.cluster)
    return (url.address,)


def _connect_target(address: str, address_map: Mapping[str, str]) -> tuple[str, int]:
    """Where to connect for an announced address: its own entry in the map, else its host's, else itself."""
    host, port = split_address(address)
    target = address_map.get(address) or address_map.get(host)
    return split_address(target, port) if target else (host, port)
