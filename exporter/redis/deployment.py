"""The deployment: knows the nodes, and is the only part that sends commands to them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as NotDoneError
from dataclasses import replace
from functools import partial
from math import inf
from typing import Final

from exporter.address import (
    REDIS_PORT,
    SENTINEL_PORT,
    RedisUrl,
    is_socket,
    join_address,
    parse_url,
    server_at,
    split_address,
)
from exporter.config.redis import RedisSettings
from exporter.redis.clocks import Clocks, parse_time, server_time
from exporter.redis.connect import Connection, ConnectionOptions, open_connection
from exporter.redis.connection.access import access
from exporter.redis.connection.credentials import Credentials
from exporter.redis.connection.endpoints import Endpoint, endpoints, node_at, prefers_names
from exporter.redis.connection.names import NameCheck
from exporter.redis.errors import RecentCounts
from exporter.redis.find import (
    SeedsUnreadableError,
    find_nodes,
    find_request,
    find_sentinel_nodes,
    unknown_master,
    with_masters,
)
from exporter.redis.identity import deployment_identity
from exporter.redis.info import parse_info
from exporter.redis.pool import GRACE, ConnectionPools, Exchange, Pending, Replies
from exporter.redis.protocol import Reply, Request, pack_request
from exporter.redis.redirect import Redirects, met_half_moved_slot
from exporter.redis.sentinel import sentinel_addresses, sentinel_request
from exporter.snapshot.redis import Info, Mode, Recent, RedisState, Topology
from service.clock import Deadline, boottime, monotonic, now
from service.outcome import Failed, Ok, Outcome, UnreadableError

_SETTLE: Final = 0.25  # seconds that other seeds get after the first reply: a dead seed delays no start
_CLOCK_SECONDS: Final = 60.0  # between two requests for a clock that INFO does not have


class Deployment:
    """One server, one Sentinel set or one cluster. Constructing it does no I/O.

    Raises ValueError for an invalid URL or address, with a text that is safe to show.
    """

    def __init__(self, settings: RedisSettings) -> None:
        url = parse_url(settings.url.get_secret_value()) if settings.url else None
        self._settings = settings
        self._url = url or server_at(settings.host, settings.port)
        self._credentials = Credentials(settings, self._url)
        self.expected_mode: Final[Mode] = _expected_mode(settings)
        self.seeds: Final = _seeds(settings, self._url)
        self.sentinel_master: Final = settings.sentinel_master
        self._sentinels = frozenset(self.seeds if self.expected_mode == "sentinel" else ())
        self._pools = ConnectionPools(self._connect, settings.reconnect_interval_seconds)
        self._lock = threading.Lock()
        self._topology: Topology | None = None
        self._hostnames: dict[str, str] = {}
        self._clocks = Clocks()
        self._clock_due: dict[str, float] = {}
        self._counts = RecentCounts()
        self._by_name = False
        self._connected_at: dict[str, Endpoint] = {}
        self._names = NameCheck(self._pools.peers, settings.resolve_interval_seconds)
        self._discovery: Future[Topology] | None = None
        self._identity: str | None = None
        self.access: Final = access(settings, self._url)

    @property
    def sentinels(self) -> frozenset[str]:
        """The known sentinels, including those of the settings; empty in the other modes."""
        return self._sentinels

    @property
    def database(self) -> int:
        """The number of the database that is read; a cluster has only 0."""
        if self.expected_mode == "cluster":
            return 0
        return self._settings.database if self._url.database is None else self._url.database

    def identify(self, state: RedisState) -> str | None:
        """The name of the settings, else the identity that this state shows, else the last known one."""
        self._identity = deployment_identity(state, self.database) or self._identity
        return self._settings.name or self._identity

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
            finally:
                del shared  # as below
        try:
            topology = self._discover(deadline)
        except BaseException as error:
            future.set_exception(error)
            raise
        else:
            future.set_result(topology)
            return topology
        finally:
            with self._lock:
                self._discovery = None
            del future  # it has the error, which has this frame

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
        self._clocks.forget_others(addresses)
        with self._lock:
            self._counts.forget_others(addresses)
            self._clock_due = {node: due for node, due in self._clock_due.items() if node in addresses}

    def execute(
        self, requests: Mapping[str, Request], deadline: Deadline, *, pool: str
    ) -> dict[str, Outcome[list[Reply]]]:
        """Each node's replies, by address: one write and one read for each node, all nodes in parallel.

        Every node is bounded by the deadline and by `timeout_seconds`, whatever is slow: resolver, connect,
        TLS, AUTH or the reply. Never raises for a node. Keys of a half-moved slot are read from the node that
        has them already.
        """
        pieces = {address: (request,) for address, request in requests.items()}
        return {
            address: outcomes[0]
            for address, outcomes in self.execute_pieces(pieces, deadline, pool=pool).items()
        }

    def execute_pieces(
        self, requests: Mapping[str, Sequence[Request]], deadline: Deadline, *, pool: str
    ) -> dict[str, list[Outcome[list[Reply]]]]:
        """Each node's replies to each of its requests, as `execute` bounds one of them: they are sent one
        after the other, so that a large number of commands takes as long as it must, and what has come is
        kept. After a request without replies the node's further ones are not sent and fail for its reason: a
        node that hangs costs its time-out once.
        """
        self._names.start_if_due()
        outcomes: dict[str, list[Outcome[list[Reply]]]] = {address: [] for address in requests}
        running: dict[Future[Replies], tuple[str, Pending]] = {}

        def begin(address: str) -> None:
            request = requests[address][len(outcomes[address])]
            pending = self._submit({address: request}, deadline, pool)[address]
            running[pending.future] = address, pending

        for address, pieces in requests.items():
            if pieces:
                begin(address)
        while running:
            give_up = Deadline(min(pending.deadline.at for _, pending in running.values()) + GRACE)
            wait(running, give_up.remaining(), FIRST_COMPLETED)
            at = monotonic()
            ended = [
                future
                for future, (_, pending) in running.items()
                if future.done() or at >= pending.deadline.at + GRACE
            ]
            for future in ended:
                address, pending = running.pop(future)
                outcome = self._following_redirects(address, pending, pool)
                outcomes[address].append(outcome)
                left = len(requests[address]) - len(outcomes[address])
                if isinstance(outcome, Failed):
                    outcomes[address] += [outcome] * left
                elif left:
                    begin(address)
        return outcomes

    def connection_number(self, address: str, *, pool: str) -> int:
        """Of the open connection to this node: another one may lead to another server, or to one that was
        restarted from an older state. 0 without one."""
        return self._pools.number(pool, address)

    def renew(self, address: str) -> None:
        """Connect to this node again, and so resolve its name again, before the next requests."""
        self._pools.renew(address)

    def now(self, address: str) -> float:
        """Unix seconds by this node's clock; by ours while the node's is not known."""
        time = self._clocks.at(address, boottime())
        return now() if time is None else time

    def clock_offset(self, address: str) -> float | None:
        """Seconds that the node's clock is ahead of ours; None while it is not known."""
        time = self._clocks.at(address, boottime())
        return None if time is None else time - now()

    def learn_clock(self, address: str, outcome: Outcome[list[Reply]], info: Info) -> None:
        """Take a node's clock from its INFO, which was in this exchange."""
        time = server_time(info)
        if time is not None and isinstance(outcome, Exchange):
            self._clocks.learn(address, time, outcome.sent, outcome.received)
            self._clock_due[address] = inf

    def read_clocks(self, addresses: Iterable[str], deadline: Deadline, *, pool: str) -> None:
        """Read the clocks of those nodes whose INFO was not read yet, or has no clock: then by TIME.

        A node that does not answer is asked again after a while: not each collection pays its time-out.
        """
        at = monotonic()
        due = [address for address in addresses if at >= self._clock_due.get(address, at)]
        self._clock_due |= dict.fromkeys(due, at + _CLOCK_SECONDS)
        without: list[str] = []
        asked = self.execute(dict.fromkeys(due, _INFO_SERVER), deadline, pool=pool)
        for address, outcome in asked.items():
            if isinstance(outcome, Ok):
                reply = outcome.value[0]
                info = parse_info(reply) if isinstance(reply, bytes) else Info({})
                self.learn_clock(address, outcome, info)
                without += [address] if server_time(info) is None else []
        for address, outcome in self.execute(dict.fromkeys(without, _TIME), deadline, pool=pool).items():
            time = parse_time(outcome.value[0]) if isinstance(outcome, Ok) else None
            if time is not None and isinstance(outcome, Exchange):
                self._clocks.learn(address, time, outcome.sent, outcome.received)

    def recent(self, address: str, run_id: str, totals: Mapping[str, int]) -> dict[str, Recent]:
        """Which totals of a node grew in the last minutes, from those of now and of earlier collections."""
        with self._lock:
            return self._counts.observe(address, run_id, totals, monotonic())

    def under_way(self, address: str) -> dict[str, float]:
        """Seconds that the requests of each pool to this node took."""
        return self._pools.under_way(address)

    def connect(self, address: str, deadline: Deadline) -> Connection:
        """A connection of its own, outside of all pools, which the caller closes. Raises UnreadableError."""
        return self._connect(address, deadline)

    def close(self) -> None:
        """Close the connections. Does not wait for nodes that are late."""
        self._pools.close()

    def _following_redirects(self, address: str, pending: Pending, pool: str) -> Replies:
        """What has come of a request by now, with the keys of a half-moved slot."""
        outcome = pending.outcome_now()
        in_cluster = self._topology is not None and self._topology.mode == "cluster"
        if not in_cluster or not isinstance(outcome, Ok) or not met_half_moved_slot(outcome.value):
            return outcome
        replies = self._redirected(address, pending.request, outcome.value, pending.deadline, pool)
        return replace(outcome, value=replies)

    def _redirected(
        self, address: str, request: Request, replies: list[Reply], deadline: Deadline, pool: str
    ) -> list[Reply]:
        """A node's replies, those of moved keys from the node that has them: at most two more requests."""
        redirects = Redirects(request, replies)
        singly = redirects.single_keys()
        if singly:
            outcome = self._submit({address: singly}, deadline, pool)[address].outcome()
            if not isinstance(outcome, Ok):
                return replies
            redirects.apply_single_keys(outcome.value)
        topology = self._topology
        nodes = topology.nodes if topology else ()
        requests = redirects.asking(partial(node_at, nodes=nodes, seen_from=address))
        outcomes = {node: item.outcome() for node, item in self._submit(requests, deadline, pool).items()}
        redirects.apply_asked({node: item.value for node, item in outcomes.items() if isinstance(item, Ok)})
        return redirects.replies

    def _submit(self, requests: Mapping[str, Request], deadline: Deadline, pool: str) -> dict[str, Pending]:
        bound = deadline.at_most(self._settings.timeout_seconds)
        return {
            address: self._pools.submit(pool, address, request, bound)
            for address, request in requests.items()
        }

    def _discover(self, deadline: Deadline) -> Topology:
        if self.expected_mode == "sentinel":
            requests = dict.fromkeys(sorted(self._sentinels), sentinel_request(self.sentinel_master))
            replies = self._execute_until_first(requests, deadline)
            try:
                views, topology = find_sentinel_nodes(self.sentinel_master, replies)
            except SeedsUnreadableError as error:
                raise SeedsUnreadableError(self._name_masters(error.failures, deadline)) from None
            self.update(topology, sentinel_addresses(views))
        else:
            known = [node.address for node in self._topology.nodes] if self._topology else []
            requests = dict.fromkeys([*self.seeds, *known], find_request())
            replies = self._execute_until_first(requests, deadline)
            topology = find_nodes(self.expected_mode, replies)
            self.update(topology)
            if any(node.hostname for node in topology.nodes):
                self._learn_preference(topology, replies, deadline)
        return topology

    def _name_masters(self, failures: Mapping[str, Failed], deadline: Deadline) -> dict[str, Failed]:
        """The failures; a sentinel that does not know our master's name is asked for those that it knows."""
        asked = [address for address, failed in failures.items() if unknown_master(failed)]
        pending = self._submit(dict.fromkeys(asked, _SENTINEL_MASTERS), deadline, "redis")
        outcomes = {address: item.outcome() for address, item in pending.items()}
        return dict(failures) | {
            address: with_masters(failures[address], outcome.value[0])
            for address, outcome in outcomes.items()
            if isinstance(outcome, Ok)
        }

    def _learn_preference(
        self, topology: Topology, replies: Mapping[str, Replies], deadline: Deadline
    ) -> None:
        """Ask a node that answered whether clients shall use host names. If refused, addresses are first."""
        address = next(address for address, outcome in replies.items() if isinstance(outcome, Ok))
        outcome = self._submit({address: _CLUSTER_SHARDS}, deadline, "redis")[address].outcome()
        if isinstance(outcome, Ok):
            preferred = prefers_names(outcome.value[0], topology.nodes)
            self._by_name = self._by_name if preferred is None else preferred

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
        """Connect to the announced address or, where the node has a host name, to that: what answers."""
        targets = (
            [(address, 0)]
            if is_socket(address)
            else endpoints(
                address,
                self._hostnames.get(address, ""),
                self._settings.address_map,
                by_name=self._by_name,
                last=self._connected_at.get(address),
            )
        )
        failures: list[tuple[str, str]] = []  # not the errors: each would keep this frame, which has the list
        for position, target in enumerate(targets):
            share = deadline.remaining() / (len(targets) - position)
            try:
                connection = self._open(address, target, deadline.at_most(share))
            except UnreadableError as error:
                failures.append((error.kind, str(error)))
            else:
                self._connected_at[address] = target
                return connection
        if len(failures) == 1:
            raise UnreadableError(*failures[0])
        self._connected_at[address] = targets[1]  # a resolver that hangs takes all the time of the first
        texts = (text for _, text in failures)
        tried = (f"{join_address(*target)}: {text}" for target, text in zip(targets, texts, strict=True))
        raise UnreadableError(failures[0][0], "; ".join(tried))

    def _open(self, address: str, endpoint: Endpoint, deadline: Deadline) -> Connection:
        """Connect with the current password; once more if a file of secrets has a new one by now."""
        options = self._connection_options(address)
        try:
            return open_connection(*endpoint, options, deadline)
        except UnreadableError as error:
            if error.kind != "auth":
                raise
            self._credentials.refused()
            again = self._connection_options(address)
            if (again.username, again.password) == (options.username, options.password):
                raise
            return open_connection(*endpoint, again, deadline)

    def _connection_options(self, address: str) -> ConnectionOptions:
        settings, credentials = self._settings, self._credentials
        # Nodes announce IPs; if they announce host names too, the certificates are for those.
        server_name = settings.tls.server_name or self._hostnames.get(address)
        options = partial(ConnectionOptions, tls=credentials.tls(), server_name=server_name)
        if address in self._sentinels:
            return options(*credentials.sentinel())
        return options(*credentials.node(), self.database)


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


_INFO_SERVER: Final = pack_request([("INFO", "server")])
_SENTINEL_MASTERS: Final = pack_request([("SENTINEL", "MASTERS")])
_TIME: Final = pack_request([("TIME",)])
_CLUSTER_SHARDS: Final = pack_request([("CLUSTER", "SHARDS")])
