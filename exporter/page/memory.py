"""The memory of the queues on the page: those that take most, the nodes, what would free some. Pure."""

from __future__ import annotations

from collections.abc import Mapping
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
    translate = translator.translate
    head = [
        (as_html(translate("page.column.queue")), "text"),
        (as_html(translate("page.column.memory")), "number"),
        *((as_html(translate(title)), "number") for title in _TITLES.values()),
        (as_html(translate("page.column.per_job")), "number"),
        (as_html(translate("page.column.growth")), "number"),
    ]
    prefixed = several_prefixes(memory)
    rows = [_queue(queue, prefixed=prefixed) for queue in memory["queues"][:_ROWS]]
    lines = [
        *(f"<p>{as_html(line)}</p>" for line in advice_lines(memory, translator)),
        *(f'<p class="dim">{as_html(line)}</p>' for line in node_lines(memory, translator)),
        *(f'<p class="warning">{as_html(line)}</p>' for line in doubt_lines(memory, translator)),
    ]
    summary = as_html(summary_line(memory, view["taken_at"], translator))
    content = f'<p class="dim">{summary}</p>' + (table("memory", head, rows) if rows else "") + "".join(lines)
    return section("memory", translate("page.memory"), content)


def _queue(queue: View, *, prefixed: bool) -> str:
    return row(
        [
            (as_html(queue_title(queue, prefixed=prefixed)), "name"),
            (as_html(size(queue["bytes"])), "number"),
            *((as_html(size(column_bytes(queue, column) or None)), "number") for column in _TITLES),
            (as_html(size(bytes_per_job(queue))), "number"),
            (as_html(daily(queue["growth_bytes_per_second"])), "number"),
        ]
    )
