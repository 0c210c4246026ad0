"""The memory of the queues on the page: those that take most, the nodes, what would free some. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from exporter.memory.lines import (
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
from exporter.page.frame import PageQuery, as_html, row, section, table
from exporter.views import View
from service.units import size

_ROWS: Final = 20
_TITLES: Final[Mapping[str, str]] = {
    "waiting": "page.column.waiting",
    "active": "page.column.active",
    "delayed": "page.column.delayed",
    "prioritized": "page.column.prioritized",
    "children": "page.column.children",
    "completed": "page.column.completed",
    "failed": "page.column.failed",
    "events": "page.column.events",
    "other": "page.column.other",
}
"""Message ids of the columns."""


def memory_section(view: View, query: PageQuery) -> str:
    """The section; "" where memory is not measured, or nothing of it is known yet."""
    memory, translator = view["memory"], query.translator
    if memory is None or not (memory["measured"] or memory["unmeasured"]):
        return ""
    translate, queues = translator.translate, memory["queues"][:_ROWS]
    columns = [name for name in _TITLES if any(column_bytes(queue, name) for queue in queues)]
    head = [
        (as_html(translate("page.column.queue")), "text"),
        *(
            (as_html(translate(title)), "number")
            for title in (
                "page.column.memory",
                "page.column.per_job",
                "page.column.growth",
                *(_TITLES[column] for column in columns),
            )
        ),
    ]
    prefixed = several_prefixes(memory)
    rows = [_queue(queue, columns, prefixed=prefixed) for queue in queues]
    above = [summary_line(memory, view["taken_at"], translator), *node_lines(memory, translator)]
    content = [
        *(f'<p class="dim">{as_html(line)}</p>' for line in above),
        *([table("memory", head, rows)] if rows else []),
        *(f"<p>{as_html(line)}</p>" for line in advice_lines(memory, translator)),
        *(f'<p class="warning">{as_html(line)}</p>' for line in doubt_lines(memory, translator)),
    ]
    return section("memory", translate("page.memory"), "".join(content))


def _queue(queue: View, columns: Sequence[str], *, prefixed: bool) -> str:
    figures = [
        size(queue["bytes"]),
        size(bytes_per_job(queue)),
        daily(queue["growth_bytes_per_second"]),
        *(size(column_bytes(queue, column) or None) for column in columns),
    ]
    title = as_html(queue_title(queue, prefixed=prefixed))
    return row([(title, "name"), *((as_html(figure), "number") for figure in figures)])
