"""Watches for failovers: a manual one takes 20 ms, and all that a scrape can see of it is a new owner."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from exporter.redis.deployment import Deployment
from exporter.redis.failovers import FailoverState, observe, shards
from exporter.redis.find import sentinel_views
from exporter.redis.protocol import pack_request
from exporter.redis.sentinel import merge_sentinel_views, sentinel_request
from exporter.redis.topology import merge_cluster_views, parse_cluster_nodes
from exporter.snapshot.redis import Topology
from service.clock import Deadline, monotonic
from service.outcome import Ok, UnreadableError

log = logging.getLogger(__name__)

_POOL: Final = "watch"
_INTERVAL: Final = 1.0  # seconds from one check to the next
_TIMEOUT: Final = (
    2.0  # seconds for a check (a node that hangs takes all of it), and the wait after a failed one
)


class FailoverWatcher:
    """Counts failovers. Constructing it does no I/O; `step` is for one thread, `counts` for all."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._state = FailoverState()
        self._totals: dict[str, int] = {}
        self._counts: Mapping[str, int] = MappingProxyType({})

    @property
    def counts(self) -> Mapping[str, int]:
        """Failovers since the start by shard: the current shards, and all that had a failover. Immutable."""
        return self._counts

    def step(self) -> float:
        """Check once; the seconds until the next check. A Redis that does not answer is not an error."""
        started = monotonic()
        topology = self._current_topology(Deadline.after(_TIMEOUT))
        if topology is None:
            return _TIMEOUT
        self._state, failovers = observe(self._state, topology)
        for failover in failovers:
            self._totals[failover.shard] = self._totals.get(failover.shard, 0) + 1
            log.warning(
                "failover detected",
                extra={"shard": failover.shard, "old": failover.old, "new": failover.new},
            )
        # Slots that move one by one give their shard a new label at each check: labels without a failover go.
        self._counts = MappingProxyType(dict.fromkeys(sorted(shards(topology)), 0) | self._totals)
        return max(0.0, started + _INTERVAL - monotonic())

    def _current_topology(self, deadline: Deadline) -> Topology | None:
        """The topology that nodes or sentinels agree on; None for a single server or without a reply."""
        try:
            known = self._deployment.topology(deadline)
        except UnreadableError:
            return None
        if known.mode == "cluster":
            requests = dict.fromkeys((node.address for node in known.nodes), _CLUSTER_NODES)
            outcomes = self._deployment.execute(requests, deadline, pool=_POOL)
            texts = {
                address: outcome.value[0] for address, outcome in outcomes.items() if isinstance(outcome, Ok)
            }
            lines = {
                address: parse_cluster_nodes(text)
                for address, text in texts.items()
                if isinstance(text, bytes)
            }
            cluster_views = {address: view for address, view in lines.items() if view}
            return merge_cluster_views(cluster_views) if cluster_views else None
        if known.mode == "sentinel":
            name = self._deployment.sentinel_master
            requests = dict.fromkeys(self._deployment.sentinels, sentinel_request(name))
            views, _ = sentinel_views(self._deployment.execute(requests, deadline, pool=_POOL))
            return merge_sentinel_views(name, views)[1] if views else None
        return None


_CLUSTER_NODES: Final = pack_request([("CLUSTER", "NODES")])
