"""`monitor memory`: which queue takes the memory, and what would free some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from exporter.commands.exit_code import CRITICAL
from exporter.commands.tables import environment_translator
from exporter.memory.lines import (
    MEMORY_COLUMNS,
    advice_lines,
    bytes_per_job,
    column_bytes,
    daily,
    doubt_lines,
    node_lines,
    queue_title,
    several_prefixes,
    summary_line,
)
from exporter.views import View
from service.commands.columns import Cell, Column, Fitting, make_table
from service.units import size

_LONGEST_NAME: Final = 60
_COLUMNS: Final[Mapping[str, Column]] = {
    "queue": Column("table.queue"),
    "memory": Column("table.memory", number=True),
    "per_job": Column("table.per_job", number=True),
    "growth": Column("table.growth", number=True),
    "waiting": Column("table.waiting", number=True),
    "active": Column("table.active", number=True),
    "delayed": Column("table.delayed", number=True),
    "prioritized": Column("table.prioritized", number=True),
    "children": Column("table.children", number=True),
    "completed": Column("table.completed", number=True),
    "failed": Column("table.failed", number=True),
    "events": Column("table.events", number=True),
    "other": Column("table.other", number=True),
}
_LEAST_NEEDED: Final = ("other", "active", "prioritized", "children", "delayed", "events")


def memory_table(view: View) -> RenderableType:
    """The queues that take most, the nodes, and the advice."""
    translator, memory = environment_translator(), view.get("memory")
    if memory is None:
        return Text(translator.translate("queue_memory.off", setting="bullmq.memory.enabled"), "red")
    prefixed = several_prefixes(memory)
    queues = memory["queues"]
    whole = make_table(_COLUMNS, [_cells(queue, prefixed=prefixed) for queue in queues], translator)
    empty = [name for name in MEMORY_COLUMNS if not any(column_bytes(queue, name) for queue in queues)]
    needless = [(*empty, *_LEAST_NEEDED[:number]) for number in range(len(_LEAST_NEEDED) + 1)]
    fitting = Fitting(*map(whole.without, needless))
    shown: list[RenderableType] = [fitting, Text()] if queues else []
    return Group(
        Text(summary_line(memory, view["taken_at"], translator) + "\n"),
        *shown,
        *(Text(line) for line in advice_lines(memory, translator)),
        *(Text(line, "dim") for line in node_lines(memory, translator)),
        *(Text(line, "yellow") for line in doubt_lines(memory, translator)),
    )


def memory_data(view: View) -> Any:
    """As JSON; null where it is not measured."""
    return view.get("memory")


def memory_exit_code(view: View) -> int:
    """0 if any queue was measured, or there is none; 2 if it is not known."""
    memory = view.get("memory")
    if memory is None:
        return CRITICAL
    missing = memory["unmeasured"] or memory["pending"]
    return CRITICAL if missing and not memory["measured"] else 0


def _cells(queue: View, *, prefixed: bool) -> dict[str, Cell]:
    name = queue_title(queue, prefixed=prefixed)
    return {
        "queue": name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "...",
        "memory": size(queue["bytes"]),
        **{column: size(column_bytes(queue, column) or None) for column in MEMORY_COLUMNS},
        "per_job": size(bytes_per_job(queue)),
        "growth": daily(queue["growth_bytes_per_second"]),
    }
