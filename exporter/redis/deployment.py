"""The deployment: the only thing that talks to Redis nodes, and what knows which nodes there are."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as NotDoneError
from functools import partial
from typing import Final

from exporter.address import REDIS_PORT, SENTINEL_PORT, RedisUrl, join_address, parse_url, split_address
from exporter.redis.connect import Access, Connection, open_connection, tls_context
from exporter.redis.find import find_nodes, find_request, find_sentinel_nodes
from exporter.redis.pool import GRACE, ConnectionPools, Pending, Replies
from exporter.redis.protocol import Reply, Request
from exporter.redis.sentinel import sentinel_addresses, sentinel_request
from exporter.settings import RedisSettings
from exporter.snapshot import Mode, Topology
from service.clock import Deadline
from service.outcome import Ok, Outcome, UnreadableError

_SETTLE: Final = 0.25  # seconds that other seeds get after the first that answered
_DEFAULT: Final = "127.0.0.1:6379"


class Deployment:
    """One server, one Sentinel set or one cluster. Constructing it does no I/O.

    Raises ValueError for a URL or an address that is none, with a text that is safe to show.
    """

    def __init__(self, settings: RedisSettings) -> None:
        url = parse_url(settings.url.get_secret_value()) if settings.url else None
        self._settings = settings
        self._url = url or RedisUrl(_DEFAULT, tls=False)
        self._tls = settings.tls.enabled or self._url.tls
        self.expected: Final[Mode] = _expected(settings)
        self.seeds: Final = _seeds(settings, self._url)
        self.sentinel_master: Final = settings.sentinel_master
        self._sentinels = frozenset(self.seeds if self.expected == "sentinel" else ())
        self._pools = ConnectionPools(self._connect)
        self._lock = threading.Lock()
        self._topology: Topology | None = None
        self._hostnames: dict[str, str] = {}
        self._context: ssl.SSLContext | None = None
        self._finding: Future[Topology] | None = None

    @property
    def sentinels(self) -> frozenset[str]:
        """The sentinels that are known, those of the settings among them; empty in the other modes."""
        return self._sentinels

    def topology(self, deadline: Deadline) -> Topology:
        """The current one; found at first use. Raises UnreadableError."""
        return self._topology or self.refresh(deadline)

    def refresh(self, deadline: Deadline) -> Topology:
        """Ask seeds and known nodes for the topology; callers at the same time share one run.

        Raises UnreadableError: `SeedsUnreadableError` holds what each seed said.
        """
        with self._lock:
            running = self._finding
            mine: Future[Topology] = Future()
            if running is None:
                self._finding = mine
        if running is not None:
            try:
                return running.result(deadline.remaining())
            except NotDoneError:
                raise UnreadableError("timeout", "still looking for the nodes") from None
        try:
            mine.set_result(self._find(deadline))
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                self._finding = None
        return mine.result()

    def adopt(self, topology: Topology, sentinels: Iterable[str] = ()) -> None:
        """Take what a collection has just agreed on as current, and let go of nodes that are gone."""
        with self._lock:
            self._topology = topology
            self._hostnames = {node.address: node.hostname for node in topology.nodes if node.hostname}
            if self.expected == "sentinel":
                self._sentinels = frozenset(sentinels).union(self.seeds) if sentinels else self._sentinels
            known = frozenset(node.address for node in topology.nodes)
            keep = known | self._sentinels | frozenset(self.seeds)
        self._pools.keep_only(keep)

    def ask(
        self, requests: Mapping[str, Request], deadline: Deadline, *, pool: str
    ) -> dict[str, Outcome[list[Reply]]]:
        """Each node's replies, by address: one write and one read each, side by side.

        Every node is bounded by the deadline and by `timeout_seconds`, whatever holds it up: resolver,
        connect, TLS, AUTH or the answer. Never raises for a node.
        """
        pending = self._submit(requests, deadline, pool)
        return {address: sent.outcome() for address, sent in pending.items()}

    def close(self) -> None:
        """Close the connections; does not wait for nodes that are late."""
        self._pools.close()

    def _submit(self, requests: Mapping[str, Request], deadline: Deadline, pool: str) -> dict[str, Pending]:
        bound = deadline.at_most(self._settings.timeout_seconds)
        return {address: self._pools.submit(pool, address, one, bound) for address, one in requests.items()}

    def _find(self, deadline: Deadline) -> Topology:
        if self.expected == "sentinel":
            watch = dict.fromkeys(sorted(self._sentinels), sentinel_request(self.sentinel_master))
            views, topology = find_sentinel_nodes(self.sentinel_master, self._ask_until_one(watch, deadline))
            self.adopt(topology, sentinel_addresses(views))
        else:
            known = [node.address for node in self._topology.nodes] if self._topology else []
            requests = dict.fromkeys([*self.seeds, *known], find_request())
            topology = find_nodes(self.expected, self._ask_until_one(requests, deadline))
            self.adopt(topology)
        return topology

    def _ask_until_one(self, requests: Mapping[str, Request], deadline: Deadline) -> dict[str, Replies]:
        """As `ask`, but once one has answered the others have only a moment: a dead seed slows no start."""
        bound = deadline.at_most(self._settings.timeout_seconds)
        pending = self._submit(requests, bound, "redis")
        given_up = Deadline(bound.at + GRACE)
        waiting: set[Future[Replies]] = {sent.future for sent in pending.values()}
        answered = False
        while waiting and not answered:
            done, waiting = wait(waiting, given_up.remaining(), FIRST_COMPLETED)
            answered = not done or any(isinstance(future.result(), Ok) for future in done)
        wait(waiting, given_up.at_most(_SETTLE).remaining())
        return {address: sent.outcome_now() for address, sent in pending.items()}

    def _connect(self, address: str, deadline: Deadline) -> Connection:
        host, port = _mapped(address, self._settings.address_map)
        return open_connection(host, port, self._access(address), deadline)

    def _access(self, address: str) -> Access:
        settings = self._settings
        # Nodes announce IPs; where they announce host names too, certificates are made out to those.
        name = settings.tls.server_name or self._hostnames.get(address)
        access = partial(Access, tls=self._tls_context(), server_name=name)
        if address in self._sentinels:
            secret = settings.sentinel_password
            return access(settings.sentinel_username, secret.get_secret_value() if secret else None)
        return access(
            self._url.username or settings.username,
            self._url.password or (settings.password.get_secret_value() if settings.password else None),
            0 if self.expected == "cluster" else self._url.database or settings.database,
        )

    def _tls_context(self) -> ssl.SSLContext | None:
        if self._tls and self._context is None:
            self._context = tls_context(self._settings.tls)
        return self._context


def _expected(settings: RedisSettings) -> Mode:
    """What the settings say; a URL may turn out to lead to a cluster."""
    if settings.sentinels:
        return "sentinel"
    return "cluster" if settings.cluster else "standalone"


def _seeds(settings: RedisSettings, url: RedisUrl) -> tuple[str, ...]:
    if settings.sentinels:
        return tuple(join_address(*split_address(text, SENTINEL_PORT)) for text in settings.sentinels)
    if settings.cluster:
        return tuple(join_address(*split_address(text, REDIS_PORT)) for text in settings.cluster)
    return (url.address,)


def _mapped(address: str, address_map: Mapping[str, str]) -> tuple[str, int]:
    """Where to connect for an announced address: its own entry, else its host's, else itself."""
    host, port = split_address(address)
    target = address_map.get(address) or address_map.get(host)
    return split_address(target, port) if target else (host, port)
