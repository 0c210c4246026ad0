"""The memory of the queues of all shards as that of one. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import nlargest
from typing import Any

from exporter.memory.advice import MOST_ADVICE
from exporter.memory.view import MOST_MEASURED, MOST_UNREAD


def merge_memory(parts: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """One view of those of the shards; None where none measures. The nodes are those that the first read."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    states, node_bytes = Counter[str](), Counter[str]()
    for part in known:
        states.update(part["states"])
        node_bytes.update(part["node_bytes"])
    times = [part["measured_at"] for part in known if part["measured_at"] is not None]
    return {
        "measured_at": min(times, default=None),
        "bytes": sum(part["bytes"] for part in known),
        "error_bytes": round(sum(part["error_bytes"] ** 2 for part in known) ** 0.5),
        "states": dict(states),
        "node_bytes": dict(node_bytes),
        "nodes": [
            {**node, "queues_bytes": node_bytes[node["address"]]} for part in known for node in part["nodes"]
        ],
        **{name: sum(part[name] for part in known) for name in ("measured", "pending", "unmeasured")},
        "unread": [queue for part in known for queue in part["unread"]][:MOST_UNREAD],
        "queues": nlargest(MOST_MEASURED, _all(known, "queues"), key=lambda queue: queue["bytes"]),
        "advice": nlargest(MOST_ADVICE, _all(known, "advice"), key=lambda advice: advice["frees_bytes"]),
    }


def _all(parts: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [each for part in parts for each in part[name]]
