"""Watching for failovers: a manual one takes 20 ms and leaves a scrape nothing to see but a changed owner."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from exporter.redis.deployment import Deployment
from exporter.redis.failovers import FailoverState, observe, shards
from exporter.redis.find import sentinel_views
from exporter.redis.protocol import request
from exporter.redis.sentinel import agree_sentinels, sentinel_request
from exporter.redis.topology import agree, parse_cluster_nodes
from exporter.snapshot import Topology
from service.clock import Deadline, monotonic
from service.outcome import Ok, UnreadableError

log = logging.getLogger(__name__)

_POOL: Final = "watch"
_EVERY: Final = 1.0  # seconds from one look to the next
_LONGEST: Final = 2.0  # seconds for a look (a node that hangs takes it all), and of rest after a vain one


class FailoverWatcher:
    """Counts failovers. Constructing it does no I/O; `step` is for one thread, `counts` for all."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._state = FailoverState()
        self._totals: dict[str, int] = {}
        self._counts: Mapping[str, int] = MappingProxyType({})

    @property
    def counts(self) -> Mapping[str, int]:
        """Failovers since the start by shard: the shards of now, and all that ever had one. Immutable."""
        return self._counts

    def step(self) -> float:
        """Look once; the seconds until the next look. A Redis that does not answer is no error."""
        started = monotonic()
        seen = self._look(Deadline.after(_LONGEST))
        if seen is None:
            return _LONGEST
        self._state, told = observe(self._state, seen)
        for one in told:
            self._totals[one.shard] = self._totals.get(one.shard, 0) + 1
            log.warning("failover", extra={"shard": one.shard, "old": one.old, "new": one.new})
        # Slots that move one by one give their shard a new label at each look: those that counted nothing go.
        self._counts = MappingProxyType(dict.fromkeys(sorted(shards(seen)), 0) | self._totals)
        return max(0.0, started + _EVERY - monotonic())

    def _look(self, deadline: Deadline) -> Topology | None:
        """What the nodes or the sentinels agree on; None for a single server or without an answer."""
        try:
            known = self._deployment.topology(deadline)
        except UnreadableError:
            return None
        if known.mode == "cluster":
            asked = dict.fromkeys((node.address for node in known.nodes), _CLUSTER_NODES)
            answers = self._deployment.ask(asked, deadline, pool=_POOL)
            raw = {address: out.value[0] for address, out in answers.items() if isinstance(out, Ok)}
            lines = {
                address: parse_cluster_nodes(text) for address, text in raw.items() if isinstance(text, bytes)
            }
            views = {address: view for address, view in lines.items() if view}
            return agree(views) if views else None
        if known.mode == "sentinel":
            name = self._deployment.sentinel_master
            asked = dict.fromkeys(self._deployment.sentinels, sentinel_request(name))
            told, _ = sentinel_views(self._deployment.ask(asked, deadline, pool=_POOL))
            return agree_sentinels(name, told)[1] if told else None
        return None


_CLUSTER_NODES: Final = request([("CLUSTER", "NODES")])
