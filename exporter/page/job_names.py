"""The names of jobs that take most time, below the queues that the page shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exporter.jobs.lines import largest_names
from exporter.page.frame import PageQuery, as_html, row, table
from exporter.views import View
from service.units import count, milliseconds, percent, printable

_ROWS: Final = 10
_COLUMNS: Final = (
    ("page.column.queue", "text"),
    ("page.column.job_name", "text"),
    ("page.column.job_share", "number"),
    ("page.column.job_added", "number"),
    ("page.column.failed", "number"),
    ("page.column.wait", "number"),
    ("page.column.run", "number"),
)


def names_table(queues: Sequence[View], query: PageQuery, *, prefixed: bool) -> str:
    """The names of these queues that took most time; nothing where no queue has several."""
    largest = largest_names(queues, _ROWS)
    if not largest:
        return ""
    translate = query.translator.translate
    rows = [
        row(
            [
                (
                    as_html(printable(f"{queue['prefix']}:{queue['name']}" if prefixed else queue["name"])),
                    "name",
                ),
                (as_html(printable(name["name"])), "name"),
                (as_html(percent(name["processing_share"])), "number"),
                (as_html(count(name["added"])), "number"),
                (as_html(count(name["failed"])), "number"),
                (as_html(milliseconds(name["wait_p95"])), "number"),
                (as_html(milliseconds(name["processing_p95"])), "number"),
            ]
        )
        for queue, name in largest
    ]
    head = [(as_html(translate(title)), kind) for title, kind in _COLUMNS]
    return f"<h2>{as_html(translate('page.job_names'))}</h2>{table('names', head, rows)}"
