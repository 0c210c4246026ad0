"""Measures what runs between scrapes uses of each Redis node, and says how much slower it has to go on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from exporter.background.budget import NodeUse, next_slowdown, used_seconds
from exporter.redis.deployment import Deployment
from exporter.redis.info import parse_info
from exporter.redis.protocol import pack_request
from service.clock import Deadline, monotonic
from service.outcome import Ok, UnreadableError

log = logging.getLogger(__name__)

PARTS: Final[Mapping[str, str]] = {
    "discover": "discovery",
    "follow": "event_streams",
    "schedulers": "schedulers",
    "watch": "failovers",
    "bull": "bull",
    "memory": "memory",
}
"""The pools of connections that are used in the background, and the parts that use them."""
_INTERVAL: Final = 10.0
_SECONDS: Final = 5.0  # for INFO
_SEARCHING: Final = 10.0  # times the budget while the first search goes on
_POOL: Final = "watch"
_CPU: Final = (
    ("used_cpu_user_main_thread", "used_cpu_sys_main_thread"),
    ("used_cpu_user", "used_cpu_sys"),
)
_INFO: Final = pack_request([("INFO", "cpu")])


class _Reading(NamedTuple):
    """Of a node at a time: seconds that its processor and each pool's requests took until then."""

    at: float
    cpu: float | None
    under_way: Mapping[str, float]


class BackgroundMeter:
    """One thread calls `step`; any thread may read `slowdown` and `seconds`. `ratio`: the share of a core of
    each node that may be used (None: any); `searching`: whether the first search for queues goes on."""

    def __init__(self, deployment: Deployment, ratio: float | None, searching: Callable[[], bool]) -> None:
        self._deployment = deployment
        self._ratio = ratio
        self._searching = searching
        self._lock = threading.Lock()
        self._totals = dict.fromkeys(PARTS.values(), 0.0)
        self._before: dict[str, _Reading] = {}
        self._slowdown = 1.0

    @property
    def slowdown(self) -> float:
        """How many times longer than in the settings the pauses of the background are, at least 1."""
        return self._slowdown

    def seconds(self) -> dict[str, float]:
        """Seconds of all nodes' processors that each part used at most, since the start."""
        with self._lock:
            return dict(self._totals)

    def step(self) -> float:
        """Close a window; the seconds until the next. A Redis that does not answer is not an error."""
        try:
            topology = self._deployment.topology(Deadline.after(_SECONDS))
        except UnreadableError:
            return _INTERVAL
        nodes = [node.address for node in topology.nodes]
        outcomes = self._deployment.execute(dict.fromkeys(nodes, _INFO), Deadline.after(_SECONDS), pool=_POOL)
        busiest, used_most = "", 0.0
        current: dict[str, _Reading] = {}
        for address, outcome in outcomes.items():
            reply = outcome.value[0] if isinstance(outcome, Ok) else None
            cpu = _cpu(reply) if isinstance(reply, bytes) else None
            current[address] = _Reading(monotonic(), cpu, self._deployment.under_way(address))
            ratio = self._close(self._before.get(address), current[address])
            if ratio >= used_most:
                busiest, used_most = address, ratio
        self._before = current
        if self._ratio is not None:
            self._pace(busiest, used_most, self._ratio)
        return _INTERVAL

    def _close(self, first: _Reading | None, last: _Reading) -> float:
        """Add what was used of a node since then; the share of a core that it was."""
        if first is None or last.at <= first.at:
            return 0.0
        cpu = None
        if first.cpu is not None and last.cpu is not None and last.cpu >= first.cpu:
            cpu = last.cpu - first.cpu
        grown = {
            part: max(0.0, last.under_way[pool] - first.under_way.get(pool, 0.0))
            for pool, part in PARTS.items()
            if pool in last.under_way
        }
        used = used_seconds(NodeUse(cpu, grown))
        with self._lock:
            for part, seconds in used.items():
                self._totals[part] += seconds
        return sum(used.values()) / (last.at - first.at)

    def _pace(self, node: str, used: float, ratio: float) -> None:
        allowed = ratio * (_SEARCHING if self._searching() else 1.0)
        before, self._slowdown = self._slowdown, next_slowdown(self._slowdown, used / allowed)
        if before == 1.0 < self._slowdown:
            log.warning(
                "background slowed down",
                extra={"node": node, "used_ratio": round(used, 4), "allowed_ratio": allowed},
            )
        elif before > 1.0 == self._slowdown:
            log.info("background at its pace again")


def _cpu(info: bytes) -> float | None:
    """Seconds of the node's main thread, or of all its threads before Redis 6.2."""
    values = parse_info(info)
    for names in _CPU:
        user, system = map(values.number, names)
        if user is not None and system is not None:
            return user + system
    return None
