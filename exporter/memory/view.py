"""The memory of the queues as plain data. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from heapq import nlargest
from typing import Any, Final

from exporter.memory.advice import retention_advice
from exporter.snapshot.memory import MEMORY_STATES, Growth, NodeMemory, QueueMemory, StateMemory
from exporter.snapshot.queues import MeasuredMemory, QueueId
from service.units import readable

MOST_MEASURED: Final = 200
"""How many queues the view has: those that take most memory."""
MOST_UNREAD: Final = 10


def memory_view(memory: MeasuredMemory | None) -> dict[str, Any] | None:
    """None: it is not measured. Bytes are whole numbers, times are unix s, growth is in bytes a second."""
    if memory is None:
        return None
    queues, by_node = memory.queues, Counter[str]()
    for queue in queues.values():
        by_node[queue.node] += round(queue.bytes)
    largest = nlargest(MOST_MEASURED, queues.items(), key=lambda item: (item[1].bytes, item[0]))
    return {
        "measured_at": min((queue.at for queue in queues.values()), default=None),
        "bytes": sum(memory.totals.values()),
        "error_bytes": round(sum(queue.error**2 for queue in queues.values()) ** 0.5),
        "states": dict(memory.totals),
        "node_bytes": dict(sorted(by_node.items())),
        "nodes": [_node(address, node, by_node[address]) for address, node in sorted(memory.nodes.items())],
        "measured": len(queues),
        "pending": memory.pending,
        "unmeasured": len(memory.unread),
        "unread": [
            _named(queue) | {"why": readable(why)}
            for queue, why in sorted(memory.unread.items())[:MOST_UNREAD]
        ],
        "queues": [_queue(queue, measured) for queue, measured in largest],
        "advice": [
            _named(each.queue)
            | {"option": each.option, "kept": each.kept, "jobs": each.jobs, "frees_bytes": round(each.bytes)}
            for each in retention_advice(queues)
        ],
    }


def _named(queue: QueueId) -> dict[str, Any]:
    return {"prefix": readable(queue.prefix), "name": readable(queue.name)}


def _node(address: str, node: NodeMemory, queues: int) -> dict[str, Any]:
    return {
        "address": address,
        "used_bytes": round(node.used),
        "max_bytes": None if node.maximum is None else round(node.maximum),
        "queues_bytes": queues,
        **_growth(node.growth),
        "full_in_seconds": node.full_in,
    }


def _growth(growth: Growth | None) -> dict[str, Any]:
    return {
        "growth_bytes_per_second": None if growth is None else growth.rate,
        "growth_seconds": None if growth is None else growth.seconds,
    }


def _queue(queue: QueueId, measured: QueueMemory) -> dict[str, Any]:
    return _named(queue) | {
        "bytes": round(measured.bytes),
        "error_bytes": round(measured.error),
        "jobs": measured.jobs,
        **_growth(measured.growth),
        "measured_at": measured.at,
        "states": [_state(name, measured.states[name]) for name in MEMORY_STATES if name in measured.states],
    }


def _state(name: str, state: StateMemory) -> Mapping[str, Any]:
    return {
        "state": name,
        "bytes": round(state.bytes),
        "error_bytes": round(state.error),
        "jobs": state.jobs,
        "samples": state.samples,
        "bytes_per_job": round(state.bytes / state.jobs) if state.jobs else None,
    }
