"""What page and command say of the memory of the queues beside their table: a sentence each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from service.i18n import Translator
from service.units import count, duration, printable, size

_DAY: Final = 86_400.0
MEMORY_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "waiting": ("waiting",),
    "active": ("active",),
    "delayed": ("delayed",),
    "prioritized": ("prioritized",),
    "children": ("waiting-children",),
    "completed": ("completed",),
    "failed": ("failed",),
    "events": ("events",),
    "other": ("schedulers", "other"),
}
"""The columns of the table, and the states that each sums up."""


def column_bytes(queue: Mapping[str, Any], column: str) -> int | None:
    """Bytes of a queue's view in a column; None where none of its states could be read."""
    states = [state["bytes"] for state in queue["states"] if state["state"] in MEMORY_COLUMNS[column]]
    return sum(states) if states else None


def bytes_per_job(queue: Mapping[str, Any]) -> float | None:
    """Bytes of all jobs of a queue, whatever their state, by their number."""
    of_jobs = [state for state in queue["states"] if state["jobs"] and state["state"] != "schedulers"]
    jobs = sum(state["jobs"] for state in of_jobs)
    return sum(state["bytes"] for state in of_jobs) / jobs if jobs else None


def daily(growth: float | None) -> str:
    """Bytes a second as bytes a day, with a sign; "" where it is not known."""
    if growth is None:
        return ""
    return f"{'-' if growth < 0 else '+'}{size(abs(growth) * _DAY)}"


def several_prefixes(memory: Mapping[str, Any]) -> bool:
    return len({queue["prefix"] for queue in memory["queues"]}) > 1


def queue_title(queue: Mapping[str, Any], *, prefixed: bool) -> str:
    return printable(f"{queue['prefix']}:{queue['name']}" if prefixed else queue["name"])


def summary_line(memory: Mapping[str, Any], now: float, translator: Translator) -> str:
    """The sum, how sure it is, and its age."""
    if not memory["measured"]:
        return translator.translate("queue_memory.none_yet")
    return translator.translate(
        "queue_memory.sum",
        bytes=size(memory["bytes"]),
        error=size(2 * memory["error_bytes"]),
        count=memory["measured"],
        ago=duration(max(0.0, now - memory["measured_at"])),
    )


def node_lines(memory: Mapping[str, Any], translator: Translator) -> list[str]:
    """Of each node how much is used and by the queues, how it grows and when it is full."""
    return [_node_line(node, translator) for node in memory["nodes"]]


def _node_line(node: Mapping[str, Any], translator: Translator) -> str:
    translate = translator.translate
    maximum, growth, full_in = node["max_bytes"], node["growth_bytes_per_second"], node["full_in_seconds"]
    name, used = printable(node["address"]), size(node["used_bytes"])
    queues = size(node["queues_bytes"])
    if maximum is None:
        parts = [translate("queue_memory.node", node=name, used=used, queues=queues)]
    else:
        most = size(maximum)
        parts = [translate("queue_memory.node_limited", node=name, used=used, max=most, queues=queues)]
    if growth is None:
        parts.append(translate("queue_memory.growth_unknown"))
    else:
        parts.append(
            translate("queue_memory.growth", rate=daily(growth), time=duration(node["growth_seconds"]))
        )
    if full_in is not None:
        parts.append(translate("queue_memory.full_in", time=duration(full_in)))
    elif maximum is None:
        parts.append(translate("queue_memory.no_maximum"))
    return ", ".join(parts)


def advice_lines(memory: Mapping[str, Any], translator: Translator) -> list[str]:
    """What other settings of retention would free, and how to get there."""
    prefixed = several_prefixes(memory)
    lines = [
        translator.translate(
            "queue_memory.advice",
            queue=queue_title(advice, prefixed=prefixed),
            option=f"{advice['option']}: {advice['kept']}",
            bytes=size(advice["frees_bytes"]),
            jobs=count(advice["jobs"]),
        )
        for advice in memory["advice"]
    ]
    return [*lines, translator.translate("queue_memory.advice_steps")] if lines else []


def doubt_lines(memory: Mapping[str, Any], translator: Translator) -> list[str]:
    """What is not measured, and why."""
    lines = [
        translator.translate(
            "queue_memory.unread",
            queue=printable(f"{queue['prefix']}:{queue['name']}"),
            why=printable(queue["why"]),
        )
        for queue in memory["unread"]
    ]
    more = memory["unmeasured"] - len(lines)
    if more > 0:
        lines.append(translator.translate("queue_memory.more_unread", count=more))
    if memory["pending"]:
        lines.append(translator.translate("queue_memory.pending", count=memory["pending"]))
    return lines
